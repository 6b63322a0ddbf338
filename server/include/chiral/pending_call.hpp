// SPDX-License-Identifier: Apache-2.0
// For a hook that has to wait before it can begin, for the lock of an interpreter or for another thread; and for one that begins
// something that the client's control stands and falls with.
//
//     void apply_action(const chiral::Action& action) override {
//         const std::lock_guard lock(interpreter);  // which may take any time
//         if (!chiral::PendingCall::of_this_thread()->counts()) throw chiral::NotCalled();
//         ...
//     }
#pragma once

#include <chiral/api.hpp>

#include <exception>
#include <functional>
#include <string_view>

namespace chiral {

/// The call of on_connect(), apply_action(), step() or reset() that a thread is in.
class CHIRAL_API PendingCall {
public:
    PendingCall(const PendingCall&) = delete;
    PendingCall& operator=(const PendingCall&) = delete;

    /// Null outside of these hooks.
    static const PendingCall* of_this_thread() noexcept;
    /// Whether it would still be made: not if the client has lost control meanwhile, or if the action has waited for longer than
    /// ServerOptions::max_action_delay. Nor, for the moment, if on_action_timeout() is due before it has begun: that is called, and
    /// then this once more if it still would be. Any thread, while the call lasts.
    virtual bool counts() const noexcept = 0;
    /// Of the client that this is called for: ends its control, as an exception that leaves a hook does. From then on no action of its
    /// reaches a hook, and its connection closes with the reason. Any thread, at any time, also when this call is long over; does
    /// nothing once that control has ended. Waits for nothing.
    virtual std::function<void(std::string_view reason)> ender() const = 0;

protected:
    PendingCall() noexcept;
    virtual ~PendingCall();

private:
    const PendingCall* const before_;
};

/// Thrown by a hook that has found that its call no longer counts, and has done nothing. That is no failure: the action is counted
/// as dropped or late, unless it is called once more.
class CHIRAL_API NotCalled : public std::exception {
public:
    const char* what() const noexcept override { return "the call no longer counts"; }
};

}  // namespace chiral
