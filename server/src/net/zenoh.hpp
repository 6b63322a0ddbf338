// SPDX-License-Identifier: Apache-2.0
// Zenoh, as far as client and server need it: a session, what is published, what is subscribed to, and tokens that show who is
// there. RAII around <chiral_zenoh.h>, which says more.
//
// Callbacks come on Zenoh's threads, also for a moment after what declared them is gone: they must hold what they need. They
// must not block for long. What they throw is dropped, with what they were told.
#pragma once

#include <chiral_zenoh.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

namespace chiral::net {

/// Zenoh has said no; what() is its reason.
class ZenohError : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// What a callback is told; valid until it returns.
class ZenohSample {
public:
    explicit ZenohSample(const chiral_zenoh_sample& sample) noexcept : sample_(sample) {}
    std::string_view key() const noexcept;
    /// The last part of the key.
    std::string_view name() const noexcept;
    std::span<const std::uint8_t> attachment() const noexcept { return {sample_.attachment.data, sample_.attachment.size}; }
    /// Of the payload, which came in pieces.
    std::size_t size() const noexcept;
    void copy_to(std::uint8_t* memory) const noexcept;
    /// A token is there no longer.
    bool gone() const noexcept { return sample_.gone != 0; }

private:
    const chiral_zenoh_sample& sample_;
};

using OnZenohSample = std::function<void(const ZenohSample&)>;

/// As long as it lives it counts. Must not be destroyed by a callback.
class ZenohDeclaration {
public:
    explicit ZenohDeclaration(chiral_zenoh_declaration* declaration) noexcept : declaration_(declaration) {}

private:
    struct Undeclare {
        void operator()(chiral_zenoh_declaration* declaration) const noexcept { chiral_zenoh_undeclare(declaration); }
    };
    std::unique_ptr<chiral_zenoh_declaration, Undeclare> declaration_;
};

class ZenohPublisher {
public:
    explicit ZenohPublisher(chiral_zenoh_publisher* publisher) noexcept : publisher_(publisher) {}

    /// Blocks while the link is congested. The pieces are borrowed until the last copy of `keeps` is gone, which may be before
    /// or after this returns, on any thread. Throws ZenohError.
    void put(std::span<const chiral_zenoh_bytes> pieces, std::span<const std::uint8_t> attachment,
             std::shared_ptr<void> keeps) const;
    /// The same for a small message, of which it makes a copy.
    void put(std::span<const std::uint8_t> message, std::span<const std::uint8_t> attachment) const;
    /// Whether anybody has subscribed.
    bool matching() const noexcept { return chiral_zenoh_matching(publisher_.get()) != 0; }
    ZenohDeclaration watch_matching(std::function<void(bool)> on_matching) const;

private:
    struct Unpublish {
        void operator()(chiral_zenoh_publisher* publisher) const noexcept { chiral_zenoh_unpublish(publisher); }
    };
    std::unique_ptr<chiral_zenoh_publisher, Unpublish> publisher_;
};

class ZenohSession {
public:
    /// `config`: JSON5, of which what the file says replaces parts. Throws ZenohError.
    ZenohSession(const std::string& config, const std::string& config_file);

    /// What nobody else has: hexadecimal digits.
    const std::string& id() const noexcept { return id_; }
    /// Either waits while a link is congested, or `drops` what does not fit.
    ZenohPublisher publish(const std::string& key, bool drops = false) const;
    ZenohDeclaration subscribe(const std::string& keys, OnZenohSample on_sample) const;
    ZenohDeclaration token(const std::string& key) const;
    /// Tells of those that are there, that come, and that go.
    ZenohDeclaration watch_tokens(const std::string& keys, OnZenohSample on_sample) const;
    void find_tokens(const std::string& keys, std::uint64_t timeout_ms, OnZenohSample on_sample) const;

private:
    struct Close {
        void operator()(chiral_zenoh_session* session) const noexcept { chiral_zenoh_close(session); }
    };
    std::unique_ptr<chiral_zenoh_session, Close> session_;
    std::string id_;
};

}  // namespace chiral::net
