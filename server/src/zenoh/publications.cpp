// SPDX-License-Identifier: Apache-2.0
#include "zenoh/publications.hpp"

#include "http/metrics.hpp"
#include "net/thread_name.hpp"

#include <algorithm>
#include <chrono>
#include <exception>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace chiral::zenoh {
namespace {

constexpr Duration kFigures = std::chrono::seconds(1);

Duration each(double per_second) {
    return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(1.0 / per_second));
}

std::optional<net::ZenohPublisher> publisher_if(bool wanted, const net::ZenohSession& session, const std::string& key) {
    if (!wanted) return std::nullopt;
    return session.publish(key, true);
}

// 'name{kind="camera",source="wrist"}' becomes 'name/camera/wrist'; what a key cannot have becomes '_'.
std::string key_of(std::string_view series) {
    std::string key(series.substr(0, series.find('{')));
    for (std::size_t quote = series.find('"'); quote != std::string_view::npos;) {
        const std::size_t end = series.find('"', quote + 1);
        if (end == std::string_view::npos) break;
        key += '/';
        for (const char c : series.substr(quote + 1, end - quote - 1)) {
            const bool plain =
                (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-';
            key += plain ? c : '_';
        }
        if (end == quote + 1) key += '_';
        quote = series.find('"', end + 1);
    }
    return key;
}

}  // namespace

Publications::Publications(robot::Robot& robot, const net::ZenohSession& session, const net::ZenohKeys& keys)
    : robot_(robot),
      session_(session),
      keys_(keys),
      stream_(publisher_if(robot.options.zenoh->stream_hz > 0.0, session, keys.stream())),
      figures_(publisher_if(robot.options.zenoh->publish_metrics, session, keys.metric("**"))) {
    if (stream_) {
        seat_ = robot_.source->take_seat();
        if (!seat_)
            throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again),
                                    "zenoh.stream_hz: expected max_observers to be at least 1");
    }
    if (stream_ || figures_)
        thread_ = std::thread([this] {
            net::name_this_thread("chiral-publish");
            work();
        });
}

Publications::~Publications() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
        changed_.notify_all();
    }
    if (thread_.joinable()) thread_.join();
}

void Publications::work() {
    TimePoint observe_at = stream_ ? Clock::now() : TimePoint::max(),
              figures_at = figures_ ? Clock::now() : TimePoint::max();
    std::unique_lock lock(mutex_);
    for (;;) {
        changed_.wait_until(lock, std::min(observe_at, figures_at), [&] { return ending_; });
        if (ending_) return;
        lock.unlock();
        const TimePoint now = Clock::now();
        try {
            if (now >= observe_at) {
                if (stream_->matching()) publish_observation();
                observe_at = std::max(now, observe_at + each(robot_.options.zenoh->stream_hz));
            }
            if (now >= figures_at) {
                if (figures_->matching()) publish_figures();
                figures_at = now + kFigures;
            }
        } catch (const std::exception& error) {  // the next one may do better
            say_lost(error.what());
            observe_at = std::max(observe_at, now + kFigures);
            figures_at = std::max(figures_at, now + kFigures);
            if (!stream_) observe_at = TimePoint::max();
            if (!figures_) figures_at = TimePoint::max();
        }
        lock.lock();
    }
}

void Publications::say_lost(const char* why) noexcept {
    try {
        robot_.options.log(std::string("not published by Zenoh: ") + why);
    } catch (const std::exception&) {  // no memory for words
    }
}

void Publications::publish_observation() {
    Observation observation = seat_->observe();
    encoder_.encode_obs_response(observation);
    std::vector<chiral_zenoh_bytes> pieces{{encoder_.head().data(), encoder_.head().size()}};
    for (const wire::Bytes& piece : encoder_.payload()) pieces.push_back({piece.data(), piece.size()});
    sending_ = true;
    std::shared_ptr<void> keeps(static_cast<void*>(this), [this](void*) {
        const std::lock_guard lock(mutex_);
        sending_ = false;
        changed_.notify_all();
    });
    std::exception_ptr failed;
    try {
        stream_->put(pieces, {}, std::move(keeps));
    } catch (const std::exception&) {  // Zenoh may hold it for a moment, whatever it was
        failed = std::current_exception();
    }
    {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return !sending_; });
    }
    robot_.source->recycle(std::move(observation));
    if (failed) std::rethrow_exception(failed);
}

void Publications::publish_figures() {
    const std::string text = http::metrics_text(robot_.stats, robot_.source->report(), robot_.source->copies(),
                                                robot_.control.holder(), robot_.hooks.pictures());
    for (std::string_view rest = text; !rest.empty();) {
        const std::string_view line = rest.substr(0, rest.find('\n'));
        rest.remove_prefix(std::min(line.size() + 1, rest.size()));
        const std::size_t blank = line.rfind(' ');
        if (line.starts_with('#') || blank == std::string_view::npos) continue;
        const std::string name = key_of(line.substr(0, blank));
        auto known = each_.find(name);
        // Labels with words of people (who controls, the last objection) must not make this grow.
        constexpr std::size_t most = 4096;
        if (known == each_.end() && each_.size() == most) continue;
        if (known == each_.end()) known = each_.emplace(name, session_.publish(keys_.metric(name), true)).first;
        const std::string_view value = line.substr(blank + 1);
        known->second.put({reinterpret_cast<const std::uint8_t*>(value.data()), value.size()}, {});
    }
}

}  // namespace chiral::zenoh
