// SPDX-License-Identifier: Apache-2.0
#include "client/shared_memory.hpp"

#include "net/packets.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace chiral::client {

// ---- memory ----

SharedMemory::SharedMemory(const net::Descriptor& file, const net::Welcome& welcome) : owner_(getpid()) {
    const auto bytes = static_cast<std::size_t>(welcome.bytes);
    // Without the seals a server that shortens the file would end this process with SIGBUS.
    constexpr int needed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    const int seals = fcntl(file.get(), F_GET_SEALS);
    struct stat found {};
    if (seals < 0 || (seals & needed) != needed || fstat(file.get(), &found) != 0)
        throw std::runtime_error("the server's memory is not sealed");
    if (static_cast<std::uint64_t>(found.st_size) != welcome.bytes)
        throw std::runtime_error("the server's memory is " + std::to_string(found.st_size) + " bytes, its welcome says " +
                                 std::to_string(welcome.bytes));
    void* address = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file.get(), 0);
    if (address == MAP_FAILED)
        throw std::runtime_error("cannot map " + std::to_string(bytes) + " bytes of the server: " + std::strerror(errno));
    bytes_ = {static_cast<const std::uint8_t*>(address), bytes};
    // Only costs: page faults after a fork, and at the first look at each page. Old kernels know the second one not.
    madvise(address, bytes, MADV_DONTFORK);
#ifdef MADV_POPULATE_READ
    madvise(address, static_cast<std::size_t>(welcome.bytes_in_use), MADV_POPULATE_READ);
#endif
}

SharedMemory::~SharedMemory() {
    // In a child of fork() something else may lie there.
    if (getpid() == owner_) munmap(const_cast<std::uint8_t*>(bytes_.data()), bytes_.size());
}

// ---- loans ----

Lender::Lender(int socket, const net::Descriptor& file, const net::Welcome& welcome)
    : memory_(file, welcome), owner_(getpid()), socket_(socket) {}

void Lender::give_back(std::uint32_t loan) noexcept {
    if (getpid() != owner_) return;  // a child of fork() has the socket, too, but what is lent is lent to its parent
    {
        const std::lock_guard lock(mutex_);
        owed_ |= std::uint32_t{1} << loan;
        send_owed_locked();
    }
    held_.fetch_sub(1, std::memory_order_release);  // after it was sent: whoever sees it may ask for another
}

bool Lender::wish(const net::BellWish& wish) {
    const std::vector<std::uint8_t> bytes = net::bell_wish(wish);
    const std::lock_guard lock(mutex_);
    return socket_ >= 0 && net::send_packet(socket_, net::PacketKind::bell, bytes) == net::PacketOutcome::done;
}

bool Lender::send_owed() noexcept {
    const std::lock_guard lock(mutex_);
    return send_owed_locked();
}

bool Lender::send_owed_locked() noexcept {
    for (std::uint8_t loan = 1; loan <= net::kMostLoans && socket_ >= 0; ++loan) {
        const std::uint32_t bit = std::uint32_t{1} << loan;
        if ((owed_ & bit) == 0) continue;
        if (net::send_packet(socket_, net::PacketKind::release, net::PacketBytes(&loan, 1)) ==
            net::PacketOutcome::would_wait)
            return false;
        owed_ &= ~bit;  // also where it failed: the end of the connection ends it
    }
    return true;
}

void Lender::end() noexcept {
    const std::lock_guard lock(mutex_);
    socket_ = -1;
}

// ---- messages ----

void LentMessage::begin(std::shared_ptr<Lender> lender) {
    bytes.clear();
    content.loan = 0;
    lender_ = std::move(lender);
    self_ = shared_from_this();
    references_.store(1, std::memory_order_relaxed);
}

void LentMessage::drop_ref() noexcept {
    // In two steps, so that it is not taken for free before all is put away. acquire and release: the last one to drop comes
    // after the reads of all others, as in every reference count.
    std::uint32_t left = references_.load(std::memory_order_acquire);
    while (left > 1)
        if (references_.compare_exchange_weak(left, left - 1, std::memory_order_acq_rel, std::memory_order_acquire)) return;
    const std::shared_ptr<Lender> lender = std::move(lender_);
    const std::shared_ptr<LentMessage> self = std::move(self_);
    if (content.loan != 0) lender->give_back(content.loan);
    references_.store(0, std::memory_order_release);
}

LentMessage& LentMessages::next(const std::shared_ptr<Lender>& lender) {
    const auto found = std::find_if(kept_.begin(), kept_.end(), [](const auto& message) { return message->free(); });
    std::shared_ptr<LentMessage> message = found != kept_.end() ? *found : std::make_shared<LentMessage>();
    if (found == kept_.end() && kept_.size() < most) kept_.push_back(message);
    message->begin(lender);  // it keeps itself from now on
    return *message;
}

}  // namespace chiral::client
