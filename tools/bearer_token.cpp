// SPDX-License-Identifier: Apache-2.0
#include "bearer_token.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string_view>

namespace chiral::tools {

std::string bearer_token(const std::string& token, const std::string& file) {
    if (!token.empty() && !file.empty()) throw std::invalid_argument("--token and --token-file: expected one of them only");
    if (!token.empty()) return token;
    if (file.empty()) {
        const char* value = std::getenv(token_variable);
        return value != nullptr ? value : "";
    }
    errno = 0;
    std::ifstream input(file);
    std::string line;
    std::getline(input, line);
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty()) return line;
    throw std::invalid_argument("--token-file " + file + ": " +
                                (errno != 0 ? std::strerror(errno) : "its first line is empty, expected the token"));
}

std::string without_token(std::string address) {
    constexpr std::string_view key = "access_token=";
    for (std::size_t at = address.find(key); at != std::string::npos; at = address.find(key, at)) {
        at += key.size();
        address.replace(at, std::min(address.find('&', at), address.size()) - at, "...");
    }
    return address;
}

}  // namespace chiral::tools
