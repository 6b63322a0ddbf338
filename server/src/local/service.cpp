// SPDX-License-Identifier: Apache-2.0
#include "local/service.hpp"

#include "local/session.hpp"
#include "net/packets.hpp"
#include "net/thread_name.hpp"

#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <exception>
#include <filesystem>
#include <functional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace chiral::local {
namespace {

[[noreturn]] void cannot_listen(const std::string& path, int error, const std::string& advice = {}) {
    throw std::system_error(error, std::generic_category(), "chiral::PolicyServer: cannot listen on " + path + advice);
}

// Held from finding out whether somebody listens until listening oneself: of robots that begin at once no two may take what a dead
// one left for theirs, and none may take another's for a dead one's that does not listen yet. It is the folder's lock, so that
// nothing stays behind, and ends with whoever holds it. Whoever may read a folder may lock it for ever, and some cannot be locked: a
// robot starts all the same.
class FolderLock {
public:
    FolderLock(const std::string& path, const std::function<void(const std::string&)>& log) {
        constexpr auto patience = std::chrono::seconds(2);  // others hold it for moments
        const std::string folder = std::filesystem::path(path).parent_path().string();
        folder_ = net::Descriptor(::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        const TimePoint until = Clock::now() + patience;
        while (!folder_ || ::flock(folder_.get(), LOCK_EX | LOCK_NB) != 0) {
            if (folder_ && (errno == EWOULDBLOCK || errno == EINTR) && Clock::now() < until) {
                std::this_thread::sleep_for(std::chrono::milliseconds(1));
                continue;
            }
            const int why = errno;
            log("the folder of " + path + " cannot be locked (" + std::generic_category().message(why) +
                "): of servers that begin there at once, one may take another's socket");
            break;
        }
    }
    // Said, because a child of fork() may have it as well.
    ~FolderLock() {
        if (folder_) ::flock(folder_.get(), LOCK_UN);
    }
    FolderLock(const FolderLock&) = delete;
    FolderLock& operator=(const FolderLock&) = delete;

private:
    net::Descriptor folder_;
};

// A socket file stays when its server is killed. Nobody listens at it then, which is found out by connecting: a lock file or a
// process number could lie.
void make_room(const std::string& path) {
    struct stat found {};
    if (::lstat(path.c_str(), &found) != 0) {
        if (errno == ENOENT) return;
        cannot_listen(path, errno);
    }
    if (!S_ISSOCK(found.st_mode)) cannot_listen(path, EEXIST, "; there is something that is no socket");
    const net::Descriptor probe = net::open_packet_socket();
    if (!probe) cannot_listen(path, errno);
    // EAGAIN: its queue is full of others who want to connect.
    if (net::connect_packet_socket(probe.get(), path) || errno == EAGAIN)
        cannot_listen(path, EADDRINUSE, "; another process listens there");
    if (errno != ECONNREFUSED) cannot_listen(path, errno);
    if (::unlink(path.c_str()) != 0) cannot_listen(path, errno, "; the file that a dead server left cannot be removed");
}

}  // namespace

struct Service::Loop {
    asio::io_context io{1};
    asio::posix::stream_descriptor listening{io};
    asio::steady_timer again{io}, force{io};
};

Service::Service(robot::Robot& served, const ArenaFile& file)
    : loop_(std::make_unique<Loop>()),
      robot(served),
      arena(file),
      io(loop_->io),
      bell(served.source->engine()),
      seats(served.source->engine(), file.guests) {}

Service::~Service() {
    stop();
    join();
    close_socket();
}

void Service::open(const std::string& path) {
    const FolderLock lock(path, robot.options.log);
    make_room(path);
    net::Descriptor socket = net::open_packet_socket();
    if (!socket) cannot_listen(path, errno);
    constexpr mode_t mode = 0660;
    // The file is made with the socket's own mode, less umask: nobody gets in before it is what it should be.
    if (::fchmod(socket.get(), mode) != 0 || !net::bind_packet_socket(socket.get(), path)) cannot_listen(path, errno);
    path_ = path;
    struct stat made {};
    if (::chmod(path.c_str(), mode) != 0 || ::lstat(path.c_str(), &made) != 0 || ::listen(socket.get(), SOMAXCONN) != 0) {
        const int error = errno;
        ::unlink(path.c_str());
        path_.clear();
        cannot_listen(path, error);
    }
    file_ = {made.st_dev, made.st_ino};
    loop_->listening.assign(socket.release());
}

void Service::start() {
    thread_ = std::thread([this] {
        net::name_this_thread("chiral-local");
        accept();
        run();
    });
}

// The file goes only if it is still ours: somebody may have removed it, and another server have put its own there. It goes first:
// as long as we listen no server takes its place, and nothing else has its number.
void Service::close_socket() noexcept {
    struct stat found {};
    if (!path_.empty() && ::lstat(path_.c_str(), &found) == 0 && found.st_dev == file_.device &&
        found.st_ino == file_.number)
        ::unlink(path_.c_str());
    path_.clear();
    asio::error_code ignored;  // nothing to do about a failure on the way out
    loop_->listening.close(ignored);
}

void Service::stop() noexcept {
    if (!thread_.joinable() || stop_asked_.exchange(true)) return;
    asio::post(io.get_executor(), net::PooledHandler(stop_memory_, [this] { shut_down(); }));
}

void Service::join() {
    if (thread_.joinable()) thread_.join();
}

// Only memory can be short here. Nobody knows what the handler that threw left undone: the connections are lost, and the
// service goes on.
void Service::run() {
    for (;;) {
        try {
            io.run();
            return;
        } catch (const std::exception& error) {
            abort_sessions();
            try {
                robot.options.log(std::string("error on the local thread, all its connections dropped: ") + error.what());
            } catch (const std::exception&) {  // no memory for words either
            }
            if (stopping_ || !stop_asked_.load()) continue;
            stopping_ = true;
            close_socket();
        }
    }
}

void Service::log_connection(const std::string& line) {
    const TimePoint now = Clock::now();
    if (!log_lines_.allows(now)) return;
    log_lines_.spend(now);
    robot.options.log(line);
}

// ---- connections ----

// In memory of its own, so that this cannot fail.
void Service::accept() noexcept {
    if (stopping_) return;
    loop_->listening.async_wait(asio::posix::stream_descriptor::wait_read,
                                net::PooledHandler(accept_memory_, [this](asio::error_code error) {
                                    if (!error && !stopping_) on_acceptable();
                                }));
}

void Service::accept_later() noexcept {
    try {
        loop_->again.expires_after(std::chrono::milliseconds(100));
        loop_->again.async_wait(net::PooledHandler(again_memory_, [this](asio::error_code) { accept(); }));
    } catch (const std::exception&) {  // no memory for a timer: then without a pause
        accept();
    }
}

// Once for each time that the system runs out of something, however long that takes.
void Service::say_failing(const char* why) noexcept {
    if (std::exchange(failing_, true)) return;
    try {
        robot.options.log(std::string("cannot accept local clients: ") + why);
    } catch (const std::exception&) {  // no memory for words
    }
}

// Never deaf: whatever fails, the next client is waited for.
void Service::on_acceptable() noexcept {
    constexpr int at_once = 8;  // then the others have their turn
    try {
        for (int i = 0; i < at_once; ++i)
            if (!take_next()) break;
        return accept();
    } catch (const std::system_error& error) {
        say_failing(error.what());
    } catch (const std::exception&) {  // no memory for a client, whose socket is closed
    }
    accept_later();
}

// False if nobody is waiting. Throws std::system_error if the system has no more of something.
bool Service::take_next() {
    net::Descriptor socket = net::accept_packet_socket(loop_->listening.native_handle());
    if (!socket) {
        if (errno == EAGAIN || errno == EWOULDBLOCK) return false;
        if (errno == ECONNABORTED || errno == EINTR) return true;
        throw std::system_error(errno, std::generic_category(), "accept");
    }
    failing_ = false;
    ucred peer{};
    socklen_t size = sizeof peer;
    if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return true;
    const std::string name = "process " + std::to_string(peer.pid) + " of user " + std::to_string(peer.uid);
    if (const std::string why = refusal(peer.uid); !why.empty()) {
        robot::count(robot.stats.refused);
        log_connection("refused " + name + ": " + why);
        net::send_packet(socket.get(), net::PacketKind::refusal, why);  // as far as it goes: nobody owes it an answer
        return true;
    }
    const auto session = std::make_shared<Session>(std::move(socket), name, *this);
    sessions_.emplace(session.get(), Entered{session, peer.uid});
    try {
        session->start();
    } catch (const std::exception&) {
        session->abort();  // or it would stay, with nobody to hear it
        leave(session.get());
        throw;
    }
    return true;
}

// Why this user may not connect (any more), if so.
std::string Service::refusal(uid_t user) const {
    const LocalAccess& options = robot.options.access.local;
    if (user != ::geteuid() && user != 0 &&
        std::find(options.users.begin(), options.users.end(), user) == options.users.end())
        return "user " + std::to_string(user) + " is not allowed here";
    const auto same =
        std::count_if(sessions_.begin(), sessions_.end(), [&](const auto& s) { return s.second.user == user; });
    if (static_cast<std::size_t>(same) >= options.max_connections_per_user)
        return "user " + std::to_string(user) + " has " + std::to_string(same) + " connections already";
    return {};
}

void Service::leave(Session* session) {
    sessions_.erase(session);
    if (stopping_ && sessions_.empty()) loop_->force.cancel();
}

void Service::shut_down() {
    if (std::exchange(stopping_, true)) return;
    close_socket();
    loop_->again.cancel();
    const auto open = sessions_;  // they leave while we go through them
    for (const auto& [key, entered] : open) entered.session->shut_down();
    if (sessions_.empty()) return;
    loop_->force.expires_after(std::chrono::seconds(2));
    loop_->force.async_wait([this](asio::error_code error) {
        if (!error) abort_sessions();
    });
}

void Service::abort_sessions() {
    // They leave as they are dropped. Without memory for a list of them: that may be when this is called.
    for (std::size_t left = sessions_.size(); left > 0 && !sessions_.empty(); --left) {
        const std::shared_ptr<Session> first = sessions_.begin()->second.session;
        first->abort();
        leave(first.get());
    }
}

}  // namespace chiral::local
