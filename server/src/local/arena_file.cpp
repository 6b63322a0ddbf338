// SPDX-License-Identifier: Apache-2.0
#include "local/arena_file.hpp"

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <system_error>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

namespace chiral::local {
namespace {

[[noreturn]] void fail(const std::string& what) {
    throw std::system_error(errno, std::generic_category(), "chiral::PolicyServer: local_socket: cannot " + what);
}

}  // namespace

ArenaFile::ArenaFile() {
    std::uint64_t number = 0;
    if (getrandom(&number, sizeof number, 0) != sizeof number) fail("get a random number");
    char text[20];
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(number));
    instance_ = text;
}

std::shared_ptr<std::byte> ArenaFile::map(std::size_t bytes) {
    file_ = net::Descriptor(memfd_create("chiral-arena", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!file_ || ftruncate(file_.get(), static_cast<off_t>(bytes)) != 0)
        fail("make a shared memory of " + std::to_string(bytes) + " bytes");
    void* address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0);
    if (address == MAP_FAILED) fail("map " + std::to_string(bytes) + " bytes");
    // Not in a child of fork(), where something else may lie there.
    std::shared_ptr<std::byte> memory(static_cast<std::byte*>(address), [bytes, owner = getpid()](std::byte* mapped) {
        if (getpid() == owner) munmap(mapped, bytes);
    });
    if (fcntl(file_.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) != 0)
        fail("seal the shared memory");
    bytes_ = {memory.get(), bytes};
    return memory;
}

}  // namespace chiral::local
