// SPDX-License-Identifier: Apache-2.0
#include <chiral/lookout.hpp>

#include <utility>

namespace chiral {
namespace {

thread_local const Lookout* youngest = nullptr;

}  // namespace

Lookout::Lookout(std::function<void()> look) : look_(std::move(look)), before_(std::exchange(youngest, this)) {}

Lookout::~Lookout() { youngest = before_; }

const Lookout* Lookout::of_this_thread() noexcept { return youngest; }

}  // namespace chiral
