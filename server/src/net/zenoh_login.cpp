// SPDX-License-Identifier: Apache-2.0
#include "net/zenoh_login.hpp"

#include <cerrno>
#include <system_error>

#include <sys/mman.h>
#include <unistd.h>

namespace chiral::net {

std::string json_text(std::string_view text) {
    std::string json = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') json += '\\';
        json += c;
    }
    return json + '"';
}

std::string zenoh_login(const std::string& token, const std::string& dictionary_file) {
    if (token.empty()) return "{}";
    std::string login = "{usrpwd: {user: " + json_text(kZenohUser) + ", password: " + json_text(token);
    if (!dictionary_file.empty()) login += ", dictionary_file: " + json_text(dictionary_file);
    return login + "}}";
}

ZenohDictionary::ZenohDictionary(const std::string& token) {
    if (token.empty()) return;
    file_ = Descriptor(::memfd_create("chiral-zenoh-users", MFD_CLOEXEC));
    const std::string line = std::string(kZenohUser) + ':' + token + '\n';
    if (!file_ || ::write(file_.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size()))
        throw std::system_error(errno, std::generic_category(), "no memory for the Zenoh users");
}

std::string ZenohDictionary::path() const { return file_ ? "/proc/self/fd/" + std::to_string(file_.get()) : std::string(); }

}  // namespace chiral::net
