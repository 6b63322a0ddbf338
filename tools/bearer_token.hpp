// SPDX-License-Identifier: Apache-2.0
// The token that chiral-serve asks for and chiral-probe sends.
#pragma once

#include <string>

namespace chiral::tools {

/// The environment variable that is looked at where the command line brings no token.
inline constexpr const char* token_variable = "CHIRAL_TOKEN";

/// The token itself, or the first line of the file, or the environment's; empty where there is none. Throws
/// std::invalid_argument if both are given, or the file cannot be read or holds none. Messages never show the token.
std::string bearer_token(const std::string& token, const std::string& file);

/// The address with dots for the tokens in its query.
std::string without_token(std::string address);

}  // namespace chiral::tools
