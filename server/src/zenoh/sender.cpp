// SPDX-License-Identifier: Apache-2.0
#include "zenoh/sender.hpp"

#include "net/thread_name.hpp"

#include <exception>
#include <utility>

namespace chiral::zenoh {
namespace {

void say(std::string& failed, const char* why) noexcept {
    try {
        failed = why;
    } catch (const std::exception&) {
        failed = "no memory";  // fits without
    }
}

}  // namespace

Sender::Sender(net::ZenohPublisher publisher, std::function<void()> ended)
    : publisher_(std::move(publisher)), ended_(std::move(ended)), thread_([this] {
          net::name_this_thread("chiral-zenoh");
          work();
          ended_();
      }) {}

Sender::~Sender() {
    end();
    thread_.join();
}

void Sender::send(Message message) {
    const std::lock_guard lock(mutex_);
    if (ending_) return;  // what it keeps is released
    waiting_.push_back(std::move(message));
    changed_.notify_one();
}

void Sender::end() {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    changed_.notify_one();
}

void Sender::work() {
    for (;;) {
        Message message;
        {
            std::unique_lock lock(mutex_);
            changed_.wait(lock, [&] { return ending_ || !waiting_.empty(); });
            if (waiting_.empty()) return;
            message = std::move(waiting_.front());
            waiting_.pop_front();
        }
        try {
            publisher_.put(message.pieces, message.note, message.keeps);
        } catch (const std::exception& error) {
            if (message.failed != nullptr) say(*message.failed, error.what());
        }
    }
}

}  // namespace chiral::zenoh
