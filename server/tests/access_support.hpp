// SPDX-License-Identifier: Apache-2.0
// Servers and clients of the tests on tokens and TLS.
#pragma once

#include "certificates.hpp"
#include "support.hpp"

#include <chiral/client.hpp>

#include <functional>
#include <initializer_list>
#include <string>

namespace chiral::test {

inline const std::string kToken = "s3cret-Token";

inline std::function<void(ServerOptions&)> with_token(std::string token = kToken) {
    return [token](ServerOptions& options) { options.access.bearer_token = token; };
}

inline std::function<void(ServerOptions&)> with_tls(const CertificateFiles& files, std::string token = {}) {
    return [files, token](ServerOptions& options) {
        options.access.tls_certificate_file = files.certificate;
        options.access.tls_private_key_file = files.key;
        options.access.bearer_token = token;
    };
}

inline ClientOptions client_options(const std::string& ca_file = {}, const std::string& token = {}) {
    ClientOptions options;
    options.connect_timeout = options.request_timeout = kDeadline;
    options.retry_interval = std::chrono::milliseconds(1);
    options.log = [](const std::string&) {};
    options.tls_ca_file = ca_file;
    options.bearer_token = token;
    return options;
}

inline std::string address(const char* scheme, int port, const std::string& host = "127.0.0.1") {
    return std::string(scheme) + "://" + host + ":" + std::to_string(port);
}

inline std::string failure_of_connect(const std::string& uri, const ClientOptions& options) {
    PolicyClient client(uri, options);
    try {
        client.connect();
        ADD_FAILURE() << "connected to " << uri;
    } catch (const ConnectionError& error) {
        return error.what();
    }
    return {};
}

inline void expect_parts(const std::string& text, std::initializer_list<std::string> parts) {
    for (const std::string& part : parts)
        EXPECT_NE(text.find(part), std::string::npos) << "in:       " << text << "\nexpected: " << part;
}

}  // namespace chiral::test
