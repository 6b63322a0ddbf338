// SPDX-License-Identifier: Apache-2.0
// What has come from one client and waits for the network thread. Bounded: Zenoh's threads cannot wait for room, because what
// others send would wait with them.
//
// Thread rule: Zenoh's threads put, the network thread takes.
#pragma once

#include "net/handler_memory.hpp"
#include "net/zenoh.hpp"
#include "net/zenoh_keys.hpp"
#include "robot/arrival.hpp"

#include <chiral/time.hpp>
#include <chiral/wire.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace chiral::zenoh {

class Inbox {
public:
    struct Message {
        std::vector<std::uint8_t> bytes;
        net::ZenohNote note;  // of a client that sends one
        TimePoint arrived{};
    };
    /// Messages that may wait, and the bytes that they may hold together.
    static constexpr std::size_t kMostMessages = 256;

    Inbox(std::string whose, std::size_t most_bytes) : client(std::move(whose)), most_bytes_(most_bytes) {}

    const std::string client;
    net::HandlerMemory telling;  // of the one handler that tells the network thread

    /// Copies the message, which has come now and arrived at `arrived` or, if its sender says when it was sent, maybe earlier.
    /// One that finds no room, or for which there is no memory, is lost, and overrun() says so from then on.
    void put(const net::ZenohSample& sample, const net::ZenohNote& note, TimePoint now, TimePoint arrived) noexcept {
        const std::lock_guard lock(mutex_);
        try {
            keep(sample, note, now, arrived);
        } catch (const std::bad_alloc&) {
            overrun_ = true;
        }
    }
    /// Whether the network thread is to be told that there is something. Once is enough, however much comes until it looks.
    bool to_be_told() noexcept {
        const std::lock_guard lock(mutex_);
        return !std::exchange(told_, true);
    }
    /// It looks: what comes from now on is told again.
    void told() noexcept {
        const std::lock_guard lock(mutex_);
        told_ = false;
    }
    std::optional<Message> take() {
        const std::lock_guard lock(mutex_);
        if (waiting_.empty()) return std::nullopt;
        std::optional<Message> first(std::move(waiting_.front()));
        waiting_.pop_front();
        bytes_ -= first->bytes.size();
        return first;
    }
    /// Drops all until a request is the first that a documented client makes only when it begins, anew or an episode. Whether there is
    /// one. Observations it asks for all the time, whether or not it knows that it has lost control.
    bool drop_until_it_begins() {
        wire::Request request;
        while (std::optional<Message> message = take()) {
            try {
                wire::decode_request(message->bytes, request);
            } catch (const wire::DecodeError&) {
                continue;
            }
            if (request.type != wire::RequestType::metadata && request.type != wire::RequestType::reset) continue;
            const std::lock_guard lock(mutex_);
            bytes_ += message->bytes.size();
            waiting_.push_front(std::move(*message));
            return true;
        }
        return false;
    }
    /// Its memory is used again.
    void give_back(Message message) {
        constexpr std::size_t few = 8, small = 64 * 1024;
        const std::lock_guard lock(mutex_);
        if (used_.size() < few && message.bytes.capacity() <= small) used_.push_back(std::move(message.bytes));
    }
    bool empty() const {
        const std::lock_guard lock(mutex_);
        return waiting_.empty();
    }
    bool overrun() const {
        const std::lock_guard lock(mutex_);
        return overrun_;
    }
    void clear() {
        const std::lock_guard lock(mutex_);
        waiting_.clear();
        bytes_ = 0;
        overrun_ = false;
    }

private:
    void keep(const net::ZenohSample& sample, const net::ZenohNote& note, TimePoint now, TimePoint arrived) {
        const std::size_t size = sample.size();
        if (overrun_ || waiting_.size() == kMostMessages || size > most_bytes_ - bytes_) {
            overrun_ = true;
            return;
        }
        Message message;
        if (!used_.empty()) {
            message.bytes = std::move(used_.back());
            used_.pop_back();
        }
        message.bytes.resize(size);
        sample.copy_to(message.bytes.data());
        message.note = note;
        message.arrived = note.sent_ns != 0 ? std::min(arrived, sender_.arrival(note.sent_ns, now)) : arrived;
        waiting_.push_back(std::move(message));
        bytes_ += size;
    }

    const std::size_t most_bytes_;
    mutable std::mutex mutex_;  // guards what follows
    std::deque<Message> waiting_;
    std::vector<std::vector<std::uint8_t>> used_;
    std::size_t bytes_{0};
    bool overrun_{false};
    bool told_{false};
    robot::SenderClock sender_;
};

}  // namespace chiral::zenoh
