// SPDX-License-Identifier: Apache-2.0
// A local client on a plain socket: the one that the library is would not misbehave.
#pragma once

#include "descriptor.hpp"

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace chiral::stress {

/// Whatever has to come, comes within kFaultDeadline. Throws std::system_error and std::runtime_error.
class LocalSocket {
public:
    /// Connects, and has said nothing.
    explicit LocalSocket(const std::string& path);
    /// One that was welcomed; it comes again while others have its place. Empty at `stop`.
    static std::optional<LocalSocket> let_in(const std::string& path, std::string_view wants, bool direct,
                                             const std::atomic<bool>& stop);

    /// False if the server has closed it, or takes nothing now. With a descriptor, if that is not -1.
    bool send(std::string_view packet, int descriptor = -1) const noexcept;
    struct Packet {
        std::string bytes;  ///< empty: the server has closed it
        Descriptor descriptor{};
    };
    Packet receive() const;
    /// Whether the server closes it, or says that it does.
    bool is_closed() const;

private:
    Descriptor socket_;
};

std::string hello(unsigned version, std::string_view wants, bool direct);
/// Of the local transport.
inline constexpr unsigned kLocalVersion = 3;

}  // namespace chiral::stress
