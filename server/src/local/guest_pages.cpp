// SPDX-License-Identifier: Apache-2.0
#include "local/guest_pages.hpp"

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <string>
#include <system_error>
#include <thread>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace chiral::local {
namespace {

constexpr int kSizeSeals = F_SEAL_SHRINK | F_SEAL_GROW;
constexpr int kLastSeals = F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;

[[noreturn]] void fail(const char* what) {
    throw std::system_error(errno, std::generic_category(), std::string("cannot ") + what);
}

// Only cost page faults where they fail: after a fork, and when memory runs short.
void keep_there(void* place, std::size_t bytes) {
    madvise(place, bytes, MADV_DONTFORK);
    mlock(place, bytes);
}

// Where writers look there is always something: whatever else would be mapped there soon would be taken for a client's. So it is
// waited for, where not even that can be had at once.
void fill_with_nothing(void* place, std::size_t bytes) {
    constexpr int flags = MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE | MAP_FIXED;
    const auto is_a_hole = [=] { return msync(place, bytes, MS_ASYNC) != 0 && errno == ENOMEM; };
    while (is_a_hole() && mmap(place, bytes, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    keep_there(place, bytes);
}

/// A mapping that goes, but for what was moved.
class Mapping {
public:
    Mapping(std::size_t bytes, int file)
        : address_(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file, 0)), bytes_(bytes) {
        if (address_ == MAP_FAILED) fail("map a page for a client");
    }
    ~Mapping() {
        if (getpid() == owner_) munmap(address_, bytes_);  // in a child of fork() something else may lie there
    }
    Mapping(const Mapping&) = delete;

    /// With what is written through it there, by atomic words: its client may be writing, too.
    void clear() noexcept {
        auto* const words = static_cast<std::atomic<std::uint64_t>*>(address_);
        for (std::size_t i = 0; i < bytes_ / sizeof *words; ++i) words[i].store(0, std::memory_order_relaxed);
    }
    /// So much of it to the place of what is mapped there, in one step for whoever looks; its pages are there already. The rest
    /// stays where it is.
    void move_to(std::byte* place, std::size_t bytes) {
        if (mremap(address_, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, place) == MAP_FAILED) {
            const int why = errno;
            fill_with_nothing(place, bytes);  // what was there may be gone already, or not
            errno = why;
            fail("move a client's page");
        }
        address_ = static_cast<std::byte*>(address_) + bytes;
        bytes_ -= bytes;
        keep_there(place, bytes);
        madvise(address_, bytes_, MADV_DONTFORK);
    }
    std::byte* begin() const noexcept { return static_cast<std::byte*>(address_); }

private:
    void* address_;
    std::size_t bytes_;
    const pid_t owner_ = getpid();
};

}  // namespace

std::shared_ptr<std::byte> GuestPages::map(std::size_t bytes) {
    void* address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (address == MAP_FAILED) fail("map pages for clients");
    madvise(address, bytes, MADV_DONTFORK);
    places_ = static_cast<std::byte*>(address);
    // Not in a child of fork(), where something else may lie there.
    return {places_, [bytes, owner = getpid()](std::byte* mapped) {
                if (getpid() == owner) munmap(mapped, bytes);
            }};
}

net::Descriptor GuestPages::make(std::size_t bytes) {
    net::Descriptor page(memfd_create("chiral-guest", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!page || fallocate(page.get(), 0, 0, static_cast<off_t>(bytes + kBellBytes)) != 0 ||
        fcntl(page.get(), F_ADD_SEALS, kSizeSeals) != 0)
        fail("make a page for a client");
    return page;
}

std::shared_ptr<std::byte> GuestPages::place(const net::Descriptor& page, int seat, std::size_t bytes) const {
    const auto mapping = std::make_shared<Mapping>(bytes + kBellBytes, page.get());
    // A client that has sealed it itself, in another way, has taken the right to do this from us.
    if (fcntl(page.get(), F_ADD_SEALS, kLastSeals) != 0) fail("seal a client's page");
    mapping->clear();
    mapping->move_to(places_ + static_cast<std::size_t>(seat) * bytes, bytes);
    return {mapping, mapping->begin()};
}

}  // namespace chiral::local
