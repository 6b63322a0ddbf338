// SPDX-License-Identifier: Apache-2.0
// Certificates for tests, made when they run: an authority, and servers whose certificates it signs.
#pragma once

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>

#include <stdlib.h>

namespace chiral::test {

/// A folder that is gone at the end of the scope.
class TemporaryFolder {
public:
    TemporaryFolder() {
        std::string name = (std::filesystem::temp_directory_path() / "chiral-test-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make a folder like " + name);
        path_ = name;
    }
    ~TemporaryFolder() { std::filesystem::remove_all(path_); }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;
    std::string file(const std::string& name) const { return (path_ / name).string(); }

private:
    std::filesystem::path path_;
};

struct CertificateFiles {
    std::string certificate, key;
};

/// What a server's certificate says.
struct Identity {
    std::string names = "IP:127.0.0.1";  ///< as OpenSSL has it: "DNS:robot.lan,IP:10.0.0.7"; empty: none
    std::string common_name = "test robot";
    long valid_from = -3600, valid_until = 3600;  ///< seconds from now
    std::string password{};                       ///< of the key
    bool rsa = false;                             ///< the key is one of RSA, 2048 bits, instead of P-256
};

class TestAuthority {
public:
    explicit TestAuthority(const std::string& name = "test authority")
        : key_(new_key()), certificate_(signed_certificate({"", name}, key_.get(), nullptr, key_.get())) {
        write_certificate(ca_file(), certificate_.get());
    }

    /// PEM, for tls_ca_file.
    std::string ca_file() const { return folder_.file("authority.pem"); }
    std::string file(const std::string& name) const { return folder_.file(name); }

    CertificateFiles issue(const Identity& identity = {}) {
        const std::string name = "server" + std::to_string(++issued_);
        const CertificateFiles files{folder_.file(name + ".pem"), folder_.file(name + "-key.pem")};
        const Key key = identity.rsa ? new_rsa_key() : new_key();
        write_certificate(files.certificate, signed_certificate(identity, key.get(), certificate_.get(), key_.get()).get());
        const File out = open(files.key);
        const bool unlocked = identity.password.empty();
        require(PEM_write_PrivateKey(out.get(), key.get(), unlocked ? nullptr : EVP_aes_128_cbc(), nullptr, 0, nullptr,
                                     unlocked ? nullptr : const_cast<char*>(identity.password.c_str())));
        return files;
    }

private:
    using Key = std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)>;
    using Certificate = std::unique_ptr<X509, void (*)(X509*)>;
    using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

    static void require(bool done) {
        if (!done) throw std::runtime_error("OpenSSL could not make a certificate");
    }
    static Key new_key() {
        Key key(EVP_EC_gen("P-256"), EVP_PKEY_free);
        require(key != nullptr);
        return key;
    }
    static Key new_rsa_key() {
        Key key(EVP_RSA_gen(2048), EVP_PKEY_free);
        require(key != nullptr);
        return key;
    }
    static void extend(X509* certificate, X509V3_CTX& context, int kind, const char* value) {
        const std::unique_ptr<X509_EXTENSION, void (*)(X509_EXTENSION*)> extension(
            X509V3_EXT_conf_nid(nullptr, &context, kind, value), X509_EXTENSION_free);
        require(extension && X509_add_ext(certificate, extension.get(), -1) == 1);
    }
    /// Signed by `issuer`, or by itself.
    Certificate signed_certificate(const Identity& identity, EVP_PKEY* key, X509* issuer, EVP_PKEY* issuer_key) {
        Certificate certificate(X509_new(), X509_free);
        require(certificate && X509_set_version(certificate.get(), 2) == 1);
        ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), ++serial_);
        X509_gmtime_adj(X509_getm_notBefore(certificate.get()), identity.valid_from);
        X509_gmtime_adj(X509_getm_notAfter(certificate.get()), identity.valid_until);
        require(X509_set_pubkey(certificate.get(), key) == 1);
        X509_NAME* name = X509_get_subject_name(certificate.get());
        const auto* common_name = reinterpret_cast<const unsigned char*>(identity.common_name.c_str());
        require(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, common_name, -1, -1, 0) == 1);
        X509* signer = issuer != nullptr ? issuer : certificate.get();
        require(X509_set_issuer_name(certificate.get(), X509_get_subject_name(signer)) == 1);
        X509V3_CTX context;
        X509V3_set_ctx_nodb(&context);
        X509V3_set_ctx(&context, signer, certificate.get(), nullptr, nullptr, 0);
        extend(certificate.get(), context, NID_basic_constraints, issuer != nullptr ? "CA:FALSE" : "critical,CA:TRUE");
        if (!identity.names.empty()) extend(certificate.get(), context, NID_subject_alt_name, identity.names.c_str());
        require(X509_sign(certificate.get(), issuer_key, EVP_sha256()) > 0);
        return certificate;
    }
    static File open(const std::string& path) {
        File file(std::fopen(path.c_str(), "w"), std::fclose);
        require(file != nullptr);
        return file;
    }
    static void write_certificate(const std::string& path, X509* certificate) {
        const File file = open(path);
        require(PEM_write_X509(file.get(), certificate) == 1);
    }

    TemporaryFolder folder_;
    long serial_{0};
    int issued_{0};
    Key key_;
    Certificate certificate_;
};

}  // namespace chiral::test
