// SPDX-License-Identifier: Apache-2.0
#include <chiral/pending_call.hpp>

#include <utility>

namespace chiral {
namespace {

thread_local const PendingCall* innermost = nullptr;

}  // namespace

PendingCall::PendingCall() noexcept : before_(std::exchange(innermost, this)) {}

PendingCall::~PendingCall() { innermost = before_; }

const PendingCall* PendingCall::of_this_thread() noexcept { return innermost; }

}  // namespace chiral
