// SPDX-License-Identifier: Apache-2.0
#include "arena.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <new>
#include <string>
#include <system_error>

#include <sys/mman.h>
#include <unistd.h>

namespace chiral::detail {
namespace {

constexpr std::size_t kSmallestPage = 4096;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

std::size_t round_up(std::size_t value, std::size_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// Bytes of the mapping at `base` that the kernel backs with transparent huge pages: AnonHugePages in smaps, proc(5).
std::size_t transparent_huge_bytes(const void* base) {
    std::ifstream smaps("/proc/self/smaps");
    const auto address = reinterpret_cast<std::uintptr_t>(base);
    bool inside = false;
    for (std::string line; std::getline(smaps, line);) {
        unsigned long long first = 0, last = 0, kilobytes = 0;
        if (std::sscanf(line.c_str(), "%llx-%llx ", &first, &last) == 2) {
            inside = first <= address && address < last;
        } else if (inside && std::sscanf(line.c_str(), "AnonHugePages: %llu kB", &kilobytes) == 1) {
            return static_cast<std::size_t>(kilobytes) * 1024;
        }
    }
    return 0;
}

}  // namespace

Arena::Arena(std::size_t bytes, std::size_t spare_bytes, const EngineOptions& options)
    : mapped_(bytes + spare_bytes), owner_(getpid()) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const bool huge_pages = options.huge_pages && !options.memory;
    report_.bytes = bytes;
    report_.page_bytes = page;
    if (options.memory) {
        mapped_ = round_up(mapped_, page);
        given_ = options.memory(mapped_);
        base_ = given_.get();
        if (options.huge_pages) report_.huge_pages_error = "not asked for, because the memory is the embedder's";
    } else {
        map(huge_pages);
    }

    // An error here costs page faults after a fork, nothing else; the one that can occur is a kernel built without it.
    madvise(base_, mapped_, MADV_DONTFORK);
    const std::size_t used = std::min(round_up(bytes, page), mapped_);
    prefault(0, used);
    if (huge_pages && report_.huge_page_bytes == 0) {
        report_.huge_page_bytes = transparent_huge_bytes(base_);
        if (report_.huge_page_bytes > 0) report_.page_bytes = kHugePage;
    }
    if (options.lock_memory) {
        report_.locked = mlock(base_, used) == 0;
        if (!report_.locked)
            report_.lock_error =
                std::string("mlock of ") + std::to_string(used) + " bytes: " + std::strerror(errno) + " (see ulimit -l)";
    }
}

// Sets base_ and mapped_, which was the size that is needed.
void Arena::map(bool huge_pages) {
    constexpr int kProtection = PROT_READ | PROT_WRITE;
    constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS;
    const std::size_t needed = mapped_;
    void* address = MAP_FAILED;
    if (huge_pages) {
        mapped_ = round_up(needed, kHugePage);
        address = mmap(nullptr, mapped_, kProtection, kFlags | MAP_HUGETLB, -1, 0);
        if (address != MAP_FAILED) {
            report_.page_bytes = kHugePage;
            report_.huge_page_bytes = mapped_;
        } else {
            report_.huge_pages_error = std::string("no reserved huge pages (") + std::strerror(errno) +
                                       "; see vm.nr_hugepages), asked for transparent ones instead";
        }
    }
    if (address == MAP_FAILED) {
        mapped_ = round_up(needed, huge_pages ? kHugePage : report_.page_bytes);
        // Over-sized so that an aligned part can be kept: the kernel uses huge pages for aligned ranges only.
        const std::size_t slack = huge_pages ? kHugePage : 0;
        address = mmap(nullptr, mapped_ + slack, kProtection, kFlags, -1, 0);
        if (address == MAP_FAILED)
            throw std::system_error(errno, std::generic_category(),
                                    "chiral::Engine: cannot map " + std::to_string(mapped_) + " bytes for the buffers");
        if (huge_pages) {
            auto* start = static_cast<std::byte*>(address);
            const std::size_t skip =
                round_up(reinterpret_cast<std::uintptr_t>(start), kHugePage) - reinterpret_cast<std::uintptr_t>(start);
            if (skip > 0) munmap(start, skip);
            if (skip < slack) munmap(start + skip + mapped_, slack - skip);
            address = start + skip;
            if (madvise(address, mapped_, MADV_HUGEPAGE) != 0)
                report_.huge_pages_error += std::string("; refused: ") + std::strerror(errno);
        }
    }
    base_ = static_cast<std::byte*>(address);
}

Arena::~Arena() {
    // In a child of fork() something else may lie there.
    if (!base_ || getpid() != owner_) return;
    // What the embedder does next with its memory, a child may need: it may be malloc's.
    if (given_) madvise(base_, mapped_, MADV_DOFORK);
    else munmap(base_, mapped_);
}

void Arena::prefault(std::size_t offset, std::size_t bytes) const noexcept {
    for (std::size_t page = 0; page < bytes; page += kSmallestPage)
        *reinterpret_cast<volatile std::uint8_t*>(base_ + offset + page) = 0;
    // Where the limit has become too small for it, the pages are there all the same.
    if (report_.locked) mlock(base_ + offset, bytes);
}

}  // namespace chiral::detail

namespace chiral {

std::string ArenaReport::summary() const {
    char size[96];
    std::snprintf(size, sizeof size, "%.1f MiB prefaulted, %zu KiB pages", static_cast<double>(bytes) / (1 << 20),
                  page_bytes / 1024);
    std::string text = size;
    if (huge_page_bytes > 0) text += ", " + std::to_string(huge_page_bytes >> 20) + " MiB on huge pages";
    if (!huge_pages_error.empty()) text += ", huge pages: " + huge_pages_error;
    if (locked) text += ", locked";
    if (!lock_error.empty()) text += ", not locked: " + lock_error;
    return text;
}

}  // namespace chiral
