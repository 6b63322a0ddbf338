// SPDX-License-Identifier: Apache-2.0
// unix:///PATH: to a server on the same machine, whose images are not copied. See docs/LOCAL.md.
#pragma once

#include "client/transport.hpp"

namespace chiral::client {

/// Throws std::invalid_argument that says what is wrong with the address.
std::unique_ptr<Endpoint> local_endpoint(const std::string& address, const ClientOptions& options);

}  // namespace chiral::client
