// SPDX-License-Identifier: Apache-2.0
// What the tests of the local transport share: a socket path of their own, a server at it, and a client that says what the test
// wants, packet by packet.
#pragma once

#include "net/local_protocol.hpp"
#include "net/packets.hpp"
#include "support.hpp"

#include <chiral/client.hpp>
#include <chiral/wire.hpp>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include <poll.h>

namespace chiral::test {

/// A folder that goes with the test.
class OwnFolder {
public:
    OwnFolder() {
        std::string name = (std::filesystem::temp_directory_path() / "chiral-local-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) throw std::system_error(errno, std::generic_category(), "mkdtemp");
        path_ = name;
    }
    ~OwnFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    OwnFolder(const OwnFolder&) = delete;
    std::string socket() const { return (path_ / "robot.sock").string(); }
    bool empty() const { return std::filesystem::is_empty(path_); }

private:
    std::filesystem::path path_;
};

inline ServerOptions local_options(LogBook& log, const OwnFolder& folder) {
    ServerOptions options = quiet(log);
    options.local_socket = folder.socket();
    return options;
}

inline std::string local_uri(const OwnFolder& folder, const std::string& query = {}) {
    return "unix://" + folder.socket() + query;
}

/// Says what it is told to. Every wait has a deadline.
class RawLocal {
public:
    explicit RawLocal(const OwnFolder& folder) : socket_(net::open_packet_socket()), reader_(true) {
        if (!net::connect_packet_socket(socket_.get(), folder.socket()))
            throw std::system_error(errno, std::generic_category(), "connect");
    }

    int socket() const { return socket_.get(); }
    net::PacketOutcome say(net::PacketKind kind, std::string_view text, int descriptor = -1) {
        return net::send_packet(socket(), kind, text, descriptor);
    }
    /// The welcome; throws with what came instead.
    net::Welcome hello(const std::string& wants = "control") {
        say(net::PacketKind::hello, "version=" + std::to_string(net::kLocalVersion) + "\nwants=" + wants + "\n");
        if (!next() || reader_.kind() != net::PacketKind::welcome)
            throw std::runtime_error("not let in: " + std::string(reader_.text()));
        memory = reader_.take_descriptor();
        return net::Welcome::parse(reader_.text());
    }
    void ask(wire::RequestType type) {
        wire::encode_request(type, message_);
        say(net::PacketKind::message, {reinterpret_cast<const char*>(message_.data()), message_.size()});
    }
    void apply(const Action& action) {
        wire::encode_apply_action(action, true, message_);
        say(net::PacketKind::message, {reinterpret_cast<const char*>(message_.data()), message_.size()});
    }
    /// The next packet, or false at the end of the connection.
    [[nodiscard]] bool next() {
        for (;;) {
            switch (reader_.read(socket())) {
                case net::PacketOutcome::done: return true;
                case net::PacketOutcome::would_wait: break;
                default: return false;
            }
            pollfd waiting{socket(), POLLIN, 0};
            const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(kDeadline);
            if (::poll(&waiting, 1, static_cast<int>(milliseconds.count())) == 0) throw std::runtime_error("nothing came");
        }
    }
    const net::PacketReader& packet() const { return reader_; }
    net::Descriptor take_descriptor() { return reader_.take_descriptor(); }
    /// What the server says before it closes, or nothing.
    std::string goodbye() {
        while (next())
            if (reader_.kind() == net::PacketKind::close) return std::string(reader_.text());
        return {};
    }
    /// Ends what another thread does with it.
    void shut_down() { ::shutdown(socket(), SHUT_RDWR); }
    void hang_up() { socket_ = net::Descriptor(); }

    net::Descriptor memory;

private:
    net::Descriptor socket_;
    net::PacketReader reader_;
    std::vector<std::uint8_t> message_;
};

}  // namespace chiral::test
