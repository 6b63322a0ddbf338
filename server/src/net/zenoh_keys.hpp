// SPDX-License-Identifier: Apache-2.0
// Under which keys a robot and its clients meet, and what goes with each message.
//
// The documented programs know two keys: PREFIX/c2s to the robot and PREFIX/s2c from it, where PREFIX is "chiral". They say
// nothing of who speaks, and everybody hears everything. Ours meet the same way, but then talk under keys of their own, so
// that a message reaches one robot, an answer one client, and one that comes late nobody:
//
//     PREFIX/c2s/ROBOT/CLIENT    PREFIX/s2c/ROBOT/CLIENT
//
// ROBOT and CLIENT are the ids of their Zenoh sessions, which are new each time. Liveliness tokens show who is there; @ keeps
// them out of what ** subscribes to.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

namespace chiral::net {

struct ZenohKeys {
    std::string prefix;

    std::string to_robot() const { return prefix + "/c2s"; }
    std::string from_robot() const { return prefix + "/s2c"; }
    std::string to_robot(const std::string& robot, const std::string& client) const {
        return to_robot() + '/' + robot + '/' + client;
    }
    std::string from_robot(const std::string& robot, const std::string& client) const {
        return from_robot() + '/' + robot + '/' + client;
    }
    std::string robot_token(const std::string& robot) const { return prefix + "/@chiral/robot/" + robot; }
    std::string client_token(const std::string& robot, const std::string& client) const {
        return prefix + "/@chiral/client/" + robot + '/' + client;
    }
    /// Observations that are published for whoever subscribes.
    std::string stream() const { return prefix + "/stream"; }
    /// A figure of /metrics.
    std::string metric(const std::string& name) const { return prefix + "/metrics/" + name; }
};

/// A peer whose machine is gone is noticed within this. Zenoh's own default is ten seconds.
inline constexpr int kZenohLeaseMs = 2000;

/// In the place of an id: all of them.
inline const std::string kEveryone = "*";

/// Throws std::invalid_argument unless it is made of parts of letters, digits, '_', '-' and '.', with a '/' between them.
inline void check_zenoh_prefix(const std::string& prefix) {
    const auto bad = [](char c) {
        return !((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
                 c == '.' || c == '/');
    };
    if (prefix.empty() || prefix.front() == '/' || prefix.back() == '/' || prefix.find("//") != std::string::npos ||
        std::any_of(prefix.begin(), prefix.end(), bad))
        throw std::invalid_argument(
            "the Zenoh prefix '" + prefix +
            "' is no key, expected names of letters, digits, '_', '-' and '.' with '/' between them");
}

/// Goes with each message between ours, as Zenoh's attachment, which the documented programs neither send nor look at.
struct ZenohNote {
    enum class Kind : std::uint8_t {
        message,  // of the protocol
        hello,    // of a client that wants in; its message is what a WebSocket would have in its request: see ZenohHello
        welcome,  // it is in
        end       // it is over; the message says why
    };
    static constexpr std::uint8_t kVersion = 1;
    static constexpr std::size_t kSize = 20;

    Kind kind{Kind::message};
    std::uint16_t code{0};     ///< of an end: RFC 6455, 7.4.1
    std::uint64_t number{0};   ///< of the sender's message; an answer has that of what it answers
    std::uint64_t sent_ns{0};  ///< on the sender's monotonic clock, when it was handed to Zenoh

    std::array<std::uint8_t, kSize> encoded() const {
        std::array<std::uint8_t, kSize> bytes{kVersion, static_cast<std::uint8_t>(kind)};
        put(bytes.data() + 2, code, 2);
        put(bytes.data() + 4, number, 8);
        put(bytes.data() + 12, sent_ns, 8);
        return bytes;
    }
    /// Nothing if it is none of ours.
    static std::optional<ZenohNote> decoded(std::span<const std::uint8_t> bytes) {
        if (bytes.size() < kSize || bytes[0] != kVersion || bytes[1] > static_cast<std::uint8_t>(Kind::end))
            return std::nullopt;
        ZenohNote note;
        note.kind = static_cast<Kind>(bytes[1]);
        note.code = static_cast<std::uint16_t>(get(bytes.data() + 2, 2));
        note.number = get(bytes.data() + 4, 8);
        note.sent_ns = get(bytes.data() + 12, 8);
        return note;
    }

private:
    static void put(std::uint8_t* to, std::uint64_t value, int bytes) {
        for (int i = 0; i < bytes; ++i) to[i] = static_cast<std::uint8_t>(value >> (8 * i));
    }
    static std::uint64_t get(const std::uint8_t* from, int bytes) {
        std::uint64_t value = 0;
        for (int i = 0; i < bytes; ++i) value |= std::uint64_t{from[i]} << (8 * i);
        return value;
    }
};

/// What a hello asks for: one line "control", "take over" or "observe", and behind it, if there is one, the token.
struct ZenohHello {
    enum class Wish : std::uint8_t { control, take_over, observe } wish{Wish::control};
    std::string token;

    std::string text() const { return std::string(names[static_cast<std::size_t>(wish)]) + '\n' + token; }
    static std::optional<ZenohHello> of(std::string_view text) {
        const std::size_t line = text.find('\n');
        if (line == std::string_view::npos) return std::nullopt;
        for (std::size_t i = 0; i < names.size(); ++i)
            if (text.substr(0, line) == names[i])
                return ZenohHello{static_cast<Wish>(i), std::string(text.substr(line + 1))};
        return std::nullopt;
    }

private:
    static constexpr std::array<std::string_view, 3> names{"control", "take over", "observe"};
};

}  // namespace chiral::net
