// SPDX-License-Identifier: Apache-2.0
// The call of a hook, on whichever thread: what an exception in it means, and what is said of it.
#pragma once

#include "robot/hooks.hpp"

#include <exception>
#include <string>

namespace chiral::robot {

// Why there is no answer: in a word, if there is no memory for more.
inline void refuse(Reply& reply, const char* why) noexcept {
    try {
        reply.error = why;
    } catch (const std::exception&) {
        reply.error = "no memory";
    }
}

// For the log, from where nothing may be thrown: left out if there is no memory for the words.
template <class Words>
void Hooks::say(Words&& words) noexcept {
    try {
        options_.log(words());
    } catch (const std::exception&) {  // what they are about has been done, and counted
    }
}

// What an exception that leaves a hook means: it is counted, the lease ends here and now, then it is said. Returns its text, or
// nothing.
template <class Call>
std::string Hooks::call(Stage& stage, const char* hook, Lease* lease, Call&& call) noexcept {
    std::string problem;
    const auto failed = [&](const char* how, const char* what) noexcept {
        stage.leave();
        try {
            problem = std::string(hook) + "() failed" + how + what;
        } catch (const std::exception&) {
            problem = "a hook failed";  // fits without memory
        }
        count(stats_.hook_errors);  // before anybody can be told of it
        if (lease) lease->revoke(Cause::hook_failed, problem);
    };
    stage.enter(hook);
    try {
        call();
        stage.leave();
        return problem;
    } catch (const std::exception& error) {
        failed(": ", error.what());
    } catch (...) {
        failed(" with an unknown exception", "");
    }
    say([&] { return problem; });
    return problem;
}

}  // namespace chiral::robot
