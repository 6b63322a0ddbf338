// SPDX-License-Identifier: Apache-2.0
#include "websocket/tls.hpp"

#include <openssl/ssl.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <system_error>

namespace chiral::websocket {

namespace ssl = boost::asio::ssl;

std::unique_ptr<Tls> make_tls(const AccessOptions& access) {
    if (access.tls_certificate_file.empty()) return nullptr;
    ssl::context context(ssl::context::tls_server);
    boost::system::error_code error;
    const auto check = [&](const char* what, const std::string& file, const char* expected) {
        if (!error) return;
        errno = 0;  // OpenSSL has no words for a file that cannot be opened
        const std::string problem = std::ifstream(file) ? error.message() : std::strerror(errno);
        throw std::system_error(std::make_error_code(std::errc::invalid_argument),
                                std::string("chiral::PolicyServer: ") + what + " '" + file + "' cannot be used: " + problem +
                                    ", expected " + expected);
    };
    context.set_options(ssl::context::default_workarounds | ssl::context::no_sslv2 | ssl::context::no_sslv3 |
                        ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1);
    // A client that asks for another handshake would have it on the network thread.
    SSL_CTX_set_options(context.native_handle(), SSL_OP_NO_RENEGOTIATION);
    // Of TLS 1.2, what keeps yesterday's connections secret when the key is stolen; of TLS 1.3 all does.
    if (SSL_CTX_set_cipher_list(context.native_handle(), "ECDHE+AESGCM:ECDHE+CHACHA20") != 1)
        throw std::system_error(std::make_error_code(std::errc::not_supported),
                                "chiral::PolicyServer: this OpenSSL has no cipher with forward secrecy");
    // Of a key that is encrypted, OpenSSL would ask the terminal for the password, and wait.
    context.set_password_callback([](std::size_t, ssl::context::password_purpose) { return std::string(); }, error);
    context.use_certificate_chain_file(access.tls_certificate_file, error);
    check("TLS certificate file", access.tls_certificate_file, "a certificate in PEM format");
    context.use_private_key_file(access.tls_private_key_file, ssl::context::pem, error);
    check("TLS private key file", access.tls_private_key_file,
          "the key of that certificate, in PEM format and without a password");
    return std::make_unique<Tls>(std::move(context));
}

}  // namespace chiral::websocket
