// SPDX-License-Identifier: Apache-2.0
// How a client knows that its server is the one it was told to connect to: certificates and names, and sentences for what may
// be wrong with them. Knows OpenSSL and no sockets.
#pragma once

#include <openssl/types.h>

#include <string>

namespace chiral::client {

class Tls {
public:
    /// An empty file means the authorities of the system. Throws std::invalid_argument for a file that cannot be used.
    Tls(const std::string& ca_file, bool verify);
    ~Tls();
    Tls(const Tls&) = delete;
    Tls& operator=(const Tls&) = delete;

    /// One more reference to the context, which the caller owns.
    SSL_CTX* share() const;
    /// Before the handshake: whom to expect. Any thread, as all that follows.
    void prepare(SSL* connection, const std::string& host) const;
    /// After a handshake that failed with an error of OpenSSL: why, in a sentence.
    std::string failure(SSL* connection, const std::string& host, unsigned long error) const;

private:
    const std::string ca_file_;
    const bool verify_;
    SSL_CTX* context_;
};

}  // namespace chiral::client
