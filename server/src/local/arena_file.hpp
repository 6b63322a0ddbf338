// SPDX-License-Identifier: Apache-2.0
// The engine's memory in a file without a name, so that other processes can look at it: none of it lies in a file system, and
// the kernel frees it with its last mapping, however that ends.
//
// Sealed before anybody else has it: no client can write to it, make it shorter (which would end the server with SIGBUS when it
// touches what is gone) or punch holes into it (which would have sensor threads fault). Only the mapping that the engine got
// before the seals still writes.
#pragma once

#include "local/guest_pages.hpp"
#include "net/sockets.hpp"

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace chiral::local {

class ArenaFile {
public:
    ArenaFile();

    /// EngineOptions::memory: once. Throws std::system_error.
    std::shared_ptr<std::byte> map(std::size_t bytes);

    // After that, any thread:

    int descriptor() const noexcept { return file_.get(); }
    std::span<const std::byte> bytes() const noexcept { return bytes_; }
    /// Different for each, also after a restart of the same program.
    const std::string& instance() const noexcept { return instance_; }

    /// What clients write to, which is not part of it.
    GuestPages guests;

private:
    net::Descriptor file_;
    std::span<const std::byte> bytes_;  // the engine's mapping, which outlives whoever serves it
    std::string instance_;
};

}  // namespace chiral::local
