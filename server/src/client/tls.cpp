// SPDX-License-Identifier: Apache-2.0
#include "client/tls.hpp"

#include "net/printable.hpp"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <new>
#include <stdexcept>
#include <string_view>

namespace chiral::client {

namespace {

/// An IPv6 address without its zone, which no certificate knows.
std::string without_zone(const std::string& host) { return host.substr(0, host.find('%')); }

bool is_address(const std::string& host) {
    unsigned char bytes[sizeof(in6_addr)];
    return inet_pton(AF_INET, host.c_str(), bytes) == 1 || inet_pton(AF_INET6, host.c_str(), bytes) == 1;
}

// ---- whom a certificate is for ----

std::string text_of(const ASN1_STRING* string) {
    return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(string)),
            static_cast<std::size_t>(ASN1_STRING_length(string))};
}

void append_name(std::string& names, std::string_view name) {
    names += (names.empty() ? "'" : ", '") + net::printable(name) + '\'';
}

/// The names and addresses of a certificate, quoted; of one that has none, its common name.
std::string names_of(const X509* certificate) {
    std::string names;
    const std::unique_ptr<GENERAL_NAMES, void (*)(GENERAL_NAMES*)> alternatives(
        static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)),
        GENERAL_NAMES_free);
    for (int i = 0; alternatives && i < sk_GENERAL_NAME_num(alternatives.get()); ++i) {
        const GENERAL_NAME* name = sk_GENERAL_NAME_value(alternatives.get(), i);
        if (name->type == GEN_DNS) append_name(names, text_of(name->d.dNSName));
        if (name->type != GEN_IPADD) continue;
        const std::string bytes = text_of(name->d.iPAddress);
        char text[INET6_ADDRSTRLEN];
        const bool shown = (bytes.size() == 4 && inet_ntop(AF_INET, bytes.data(), text, sizeof text)) ||
                           (bytes.size() == 16 && inet_ntop(AF_INET6, bytes.data(), text, sizeof text));
        if (shown) append_name(names, text);
    }
    if (!names.empty()) return names;
    const X509_NAME* subject = X509_get_subject_name(certificate);
    const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at < 0) return "nobody in particular";
    append_name(names, text_of(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at))));
    return names;
}

// A certificate that is refused is forgotten by OpenSSL: its names are kept for the message.
void free_names(void*, void* names, CRYPTO_EX_DATA*, int, long, void*) { delete static_cast<std::string*>(names); }

int names_index() {
    static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, free_names);
    return index;
}

int keep_names(int good, X509_STORE_CTX* checking) noexcept {
    if (good != 0) return good;
    auto* connection = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(checking, SSL_get_ex_data_X509_STORE_CTX_idx()));
    if (connection == nullptr || SSL_get_ex_data(connection, names_index()) != nullptr) return good;
    try {
        auto names = std::make_unique<std::string>(names_of(X509_STORE_CTX_get0_cert(checking)));
        if (SSL_set_ex_data(connection, names_index(), names.get()) == 1) names.release();
    } catch (const std::bad_alloc&) {  // the message will do without them
    }
    return good;
}

}  // namespace

Tls::Tls(const std::string& ca_file, bool verify)
    : ca_file_(ca_file), verify_(verify), context_(SSL_CTX_new(TLS_client_method())) {
    const std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> guard(context_, SSL_CTX_free);
    if (!guard) throw std::bad_alloc();
    SSL_CTX_set_min_proto_version(context_, TLS1_2_VERSION);
    if (!ca_file.empty()) {
        const auto refuse = [&](const std::string& why) {
            throw std::invalid_argument("ClientOptions: tls_ca_file '" + ca_file + "' cannot be used: " + why);
        };
        if (!std::ifstream(ca_file)) refuse(std::strerror(errno));
        ERR_clear_error();
        if (SSL_CTX_load_verify_locations(context_, ca_file.c_str(), nullptr) != 1)
            refuse("it has no certificates in PEM format");
        // A server's own certificate is enough, whoever signed it.
        X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context_), X509_V_FLAG_PARTIAL_CHAIN);
    } else if (verify) {
        SSL_CTX_set_default_verify_paths(context_);  // a system without any trusts nobody, and the handshake says so
    }
    SSL_CTX_set_verify(context_, verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, keep_names);
    SSL_CTX_up_ref(context_);
}

Tls::~Tls() { SSL_CTX_free(context_); }

SSL_CTX* Tls::share() const {
    SSL_CTX_up_ref(context_);
    return context_;
}

void Tls::prepare(SSL* connection, const std::string& host) const {
    const std::string expected = without_zone(host);
    const bool address = is_address(expected);
    if (!address) SSL_set_tlsext_host_name(connection, expected.c_str());  // addresses are not told: RFC 6066 section 3
    X509_VERIFY_PARAM* param = SSL_get0_param(connection);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    const int set = address ? X509_VERIFY_PARAM_set1_ip_asc(param, expected.c_str())
                            : X509_VERIFY_PARAM_set1_host(param, expected.c_str(), expected.size());
    if (set != 1) throw std::bad_alloc();  // or everybody would be welcome
}

std::string Tls::failure(SSL* connection, const std::string& host, unsigned long error) const {
    const long verdict = verify_ ? SSL_get_verify_result(connection) : X509_V_OK;
    if (verdict == X509_V_ERR_HOSTNAME_MISMATCH || verdict == X509_V_ERR_IP_ADDRESS_MISMATCH) {
        const auto* names = static_cast<const std::string*>(SSL_get_ex_data(connection, names_index()));
        return "the server's certificate is for " + (names != nullptr ? *names : "somebody else") + ", not '" +
               without_zone(host) + '\'';
    }
    if (verdict != X509_V_OK) {
        std::string text = std::string("the server's certificate is not trusted: ") + X509_verify_cert_error_string(verdict);
        const bool stranger =
            verdict == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT || verdict == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN ||
            verdict == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT || verdict == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
            verdict == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE ||
            verdict == X509_V_ERR_CERT_SIGNATURE_FAILURE;  // another one of the same name: made anew
        if (stranger && ca_file_.empty()) text += "; give the CA with tls_ca_file";
        if (stranger && !ca_file_.empty()) text += "; its CA is not in tls_ca_file '" + ca_file_ + '\'';
        return text;
    }
    if (ERR_GET_LIB(error) == ERR_LIB_SSL && ERR_GET_REASON(error) == SSL_R_WRONG_VERSION_NUMBER)
        return "the server does not speak TLS: its address begins with ws://";
    const char* reason = ERR_reason_error_string(error);
    return std::string("the TLS handshake failed: ") + (reason != nullptr ? reason : "unknown error of OpenSSL");
}

}  // namespace chiral::client
