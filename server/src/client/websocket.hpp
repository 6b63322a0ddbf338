// SPDX-License-Identifier: Apache-2.0
// ws:// and wss://: the transport that every Chiral server speaks.
//
// Receiving. Message bytes go from the socket straight into flat memory, which is used again for later messages and grows with
// what has really come, not with what a frame header announces. Reading stops at the end of a message until read_next(): so
// the receiver decodes in place, on a thread of its own choice, while the I/O thread goes on sending. It may keep what it
// borrows: the next message then gets other memory.
//
// Sending. Messages wait in a ring of buffers that are swapped with the sender's, and are written one after the other.
#pragma once

#include "client/transport.hpp"

namespace chiral::client {

/// Reads the certificates that wss:// trusts, once: those of the system are many.
std::unique_ptr<Endpoint> websocket_endpoint(const std::string& address, const ClientOptions& options);

}  // namespace chiral::client
