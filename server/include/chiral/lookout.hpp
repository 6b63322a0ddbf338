// SPDX-License-Identifier: Apache-2.0
// What a thread does while it waits for a server, where it has duties of its own: the main thread of an interpreter has signals to
// look at.
//
//     const chiral::Lookout lookout([] { if (interrupted) throw Interrupted(); });
//     env.get_obs(obs);
#pragma once

#include <chiral/api.hpp>

#include <chrono>
#include <functional>

namespace chiral {

/// While it lives, requests and actions of every PolicyClient on this thread call `look` each time that they have waited for
/// `period`: for their turn, for room to send, or for the answer. Nothing is locked then. `look` may send
/// actions, but a request of the client whose answer or turn is waited for throws std::logic_error. An exception of `look` leaves
/// the call and ends the connection, because the answer could still come. The others do not look: connect(), close(), wait_obs(), wait_frame(),
/// and what begins and ends streams. Of several on one thread the youngest looks; made and destroyed on that thread.
class CHIRAL_API Lookout {
public:
    static constexpr std::chrono::milliseconds period{50};

    explicit Lookout(std::function<void()> look);
    ~Lookout();
    Lookout(const Lookout&) = delete;
    Lookout& operator=(const Lookout&) = delete;

    /// Null if there is none.
    static const Lookout* of_this_thread() noexcept;
    void look() const { look_(); }

private:
    const std::function<void()> look_;
    const Lookout* const before_;
};

}  // namespace chiral
