// SPDX-License-Identifier: Apache-2.0
// What is compared: a channel that always shows its readers the newest value of one camera.
//
// A comparator is a class of this shape, in a file of its own. The measuring loops are templates over it, so nothing virtual
// stands between the clock and the design.
//
//     class Channel {
//         static constexpr const char* name;
//         Channel(std::size_t bytes, int readers);   // allocates everything; holds a complete value (zeros) at once
//         void update(const std::byte* data);        // one writer thread
//         class Reader {                             // one thread each; the channel outlives it
//             explicit Reader(Channel&);
//             template <class Pause = NoPause> std::span<const std::byte> look(Pause&& pause = {});
//             void release();                        // ends the look
//         };
//     };
//
// look() returns bytes of one single update that stay as they are until release(): a design that cannot lend its memory
// copies it, because that is how its readers get a coherent value. Empty: the writer was too fast in every attempt. `pause`
// is called when the reader is in the middle of getting the value, holding whatever the design makes it hold.
#pragma once

#include <cstddef>
#include <cstring>
#include <type_traits>

namespace chiral::bench {

struct NoPause {
    void operator()() const noexcept {}
};

/// memcpy with the pause in the middle.
template <class Pause>
void copy_with_pause(std::byte* to, const std::byte* from, std::size_t bytes, Pause&& pause) {
    if constexpr (std::is_same_v<std::remove_cvref_t<Pause>, NoPause>) {
        std::memcpy(to, from, bytes);
    } else {
        const std::size_t half = bytes / 2;
        std::memcpy(to, from, half);
        pause();
        std::memcpy(to + half, from + half, bytes - half);
    }
}

}  // namespace chiral::bench
