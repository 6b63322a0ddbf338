// SPDX-License-Identifier: Apache-2.0
// A server's memory as a client on the same machine sees it, and the observations that it has on loan from there.
//
// The server pins what it lends until it is given back, so nothing that is borrowed changes as long as the connection lasts. A
// connection that has ended has ended its loans too: what is still borrowed stays readable, but the server may write there.
//
// Thread rule: any thread, but for LentMessages.
#pragma once

#include "net/local_protocol.hpp"
#include "net/sockets.hpp"

#include <chiral/byte_buffer.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include <sys/types.h>

namespace chiral::client {

/// Read-only. A child of fork() does not have it.
class SharedMemory {
public:
    /// Throws std::runtime_error for memory that is not what the welcome says, or that somebody could take away again.
    SharedMemory(const net::Descriptor& file, const net::Welcome& welcome);
    ~SharedMemory();
    SharedMemory(const SharedMemory&) = delete;

    std::span<const std::uint8_t> bytes() const noexcept { return bytes_; }

private:
    std::span<const std::uint8_t> bytes_;
    const pid_t owner_;
};

/// The way back of what is lent. Outlives the connection with the last loan.
class Lender {
public:
    Lender(int socket, const net::Descriptor& file, const net::Welcome& welcome);

    std::span<const std::uint8_t> memory() const noexcept { return memory_.bytes(); }
    /// Loans that have come and have not been given back.
    unsigned held() const noexcept { return held_.load(std::memory_order_acquire); }
    void took() noexcept { held_.fetch_add(1, std::memory_order_relaxed); }
    /// Tells the server, at once if there is room. A request that is sent after it is read after it.
    void give_back(std::uint32_t loan) noexcept;
    /// A wish to be told of a newer image. False: there is no room for it, or nobody to tell.
    bool wish(const net::BellWish& wish);
    /// What there was no room for. False: there still is none.
    bool send_owed() noexcept;
    /// The socket is about to be closed.
    void end() noexcept;

private:
    bool send_owed_locked() noexcept;

    const SharedMemory memory_;
    const pid_t owner_;
    std::atomic<unsigned> held_{0};
    std::mutex mutex_;  // guards what follows; held for moments
    int socket_;
    std::uint32_t owed_{0};  // a bit for each loan
};

/// One message, and what it has on loan.
class LentMessage final : public Loan, public std::enable_shared_from_this<LentMessage> {
public:
    std::vector<std::uint8_t> bytes;
    net::LentMessage content;  // points into `bytes` and into the memory

    /// The receiver has it, until it drops its reference. Thread of the receiver.
    void begin(std::shared_ptr<Lender> lender);
    void add_ref() noexcept override { references_.fetch_add(1, std::memory_order_relaxed); }
    void drop_ref() noexcept override;
    /// acquire pairs with the release in drop_ref(): what was read of it comes before what is written next.
    bool free() const noexcept { return references_.load(std::memory_order_acquire) == 0; }

private:
    std::atomic<std::uint32_t> references_{0};
    std::shared_ptr<Lender> lender_;
    std::shared_ptr<LentMessage> self_;  // while anybody refers to it
};

/// Messages whose memory is used again. One thread at a time.
class LentMessages {
public:
    /// One that nobody refers to.
    LentMessage& next(const std::shared_ptr<Lender>& lender);

private:
    // As many as the observations of a stream, and a few of the caller's own; others go with who refers to them.
    static constexpr std::size_t most = 12;

    std::vector<std::shared_ptr<LentMessage>> kept_;
};

}  // namespace chiral::client
