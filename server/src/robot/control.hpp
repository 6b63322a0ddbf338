// SPDX-License-Identifier: Apache-2.0
// Who is in control of the robot: one client, whatever it came through.
//
// Any thread. Nothing is called and nothing is waited for while the lock is held; on_connect() and on_disconnect() are called in
// the order of the leases. The queue keeps the order of one thread only, so each lease knows the one before it.
#pragma once

#include "robot/hooks.hpp"
#include "robot/lease.hpp"

#include <chiral/options.hpp>

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace chiral::robot {

class Control {
public:
    Control(const ServerOptions& options, const std::vector<CameraConfig>& cameras, Hooks& hooks)
        : options_(options), hooks_(hooks), gate_(options.gate, cameras) {}

    /// A lease for a client that is about to begin. Null if another one is in control, unless this one is to take over, or if
    /// the server is being stopped. Who is replaced is told, and so is who left in order and has something queued.
    std::shared_ptr<Lease> take(std::weak_ptr<Carrier> holder, bool take_over);
    /// The client is there: on_connect(). False if it has lost control again meanwhile.
    bool begin(const std::shared_ptr<Lease>& lease, const std::string& peer);
    /// The client is no longer there: on_disconnect(), once. What it sent counts as kEndings says.
    void end(const std::shared_ptr<Lease>& lease, Cause cause, const std::string& reason, TimePoint now) noexcept;
    /// Nobody moves the robot any more, from now on.
    void stop() noexcept;

    struct Holder {
        std::string peer;
        TimePoint since{};
    };
    /// Who is in control.
    std::optional<Holder> holder() const;
    /// How many clients have begun.
    std::uint64_t begun() const;

private:
    void end_locked(std::shared_ptr<Lease> lease, Cause cause, const std::string& reason, TimePoint now) noexcept;

    const ServerOptions& options_;
    Hooks& hooks_;
    const ActionGate gate_;     // as a client finds it
    mutable std::mutex mutex_;  // guards what follows
    std::shared_ptr<Lease> current_;
    std::optional<Holder> holder_;  // once it has begun
    std::weak_ptr<Lease> last_begun_;
    std::uint64_t begun_{0};
    std::vector<std::weak_ptr<Lease>> former_;  // of clients that left in order: what they sent may still be waiting
    bool stopped_{false};
};

}  // namespace chiral::robot
