// SPDX-License-Identifier: Apache-2.0
// The floor under an observation's round trip: one byte asks, gather writes of the same buffers answer, and a loop of reads
// takes it into memory that is used again. Sockets on loopback with TCP_NODELAY and the system's buffer sizes, which is what
// the server's have. It has several shapes, and is a floor only in the one that is fastest here and now: measure all, then take that.
//
// What is no shape of it: two threads at an end, because each process has one core; huge pages, because neither the server's memory in
// this measurement nor the client's has any.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <thread>
#include <vector>

namespace chiral::bench {

struct LoopShape {
    const char* name;
    std::size_t most_sent;      ///< in one call
    std::size_t most_received;  ///< in one call
    bool epoll;                 ///< both ends wait by epoll_wait() and do not block in the calls themselves
};

inline constexpr std::size_t kKiB = 1024, kAtOnce = std::size_t{1} << 30;
inline constexpr LoopShape kLoopShapes[] = {
    {"all at once, blocking", kAtOnce, kAtOnce, false},
    {"1 MiB sent, blocking", 1024 * kKiB, kAtOnce, false},
    {"256 KiB sent, blocking", 256 * kKiB, kAtOnce, false},
    {"256 KiB sent and received, blocking", 256 * kKiB, 256 * kKiB, false},
    {"1 MiB sent, 256 KiB received, blocking", 1024 * kKiB, 256 * kKiB, false},
    {"all at once, 512 KiB received, blocking", kAtOnce, 512 * kKiB, false},
    {"1 MiB sent, epoll", 1024 * kKiB, kAtOnce, true},
    {"256 KiB sent, epoll", 256 * kKiB, kAtOnce, true},
    {"1 MiB sent, 256 KiB received, epoll", 1024 * kKiB, 256 * kKiB, true},
    {"2 MiB sent, 512 KiB received, epoll", 2048 * kKiB, 512 * kKiB, true},
};

/// A connected TCP socket, or a listening one; throws std::system_error.
class TcpSocket {
public:
    static TcpSocket listening();
    static TcpSocket connected(int port);
    TcpSocket(TcpSocket&& other) noexcept;
    ~TcpSocket();

    int port() const;
    TcpSocket accept() const;
    /// False: the peer has closed.
    bool read_all(void* data, std::size_t size, const LoopShape& shape = kLoopShapes[0]) const;
    void write_all(std::vector<iovec> pieces, const LoopShape& shape = kLoopShapes[0]) const;
    /// Closes both directions, so that a thread that is blocked on it goes on.
    void shut() const;

private:
    explicit TcpSocket(int descriptor) : descriptor_(descriptor) {}
    void wait_by_epoll(std::uint32_t events) const;
    int descriptor_;
    mutable int epoll_{-1};  // once it was needed
};

/// Answers each byte that comes, the number of a shape, by gather writes of pieces of these sizes, from memory of its own. One peer after
/// the other.
class GatherWriter {
public:
    explicit GatherWriter(const std::vector<std::size_t>& sizes);
    ~GatherWriter();
    int port() const { return listener_.port(); }

private:
    std::vector<std::vector<std::uint8_t>> pieces_;
    TcpSocket listener_;
    std::thread thread_;
};

/// The other end: asks, and has all of it in memory that is used again.
class GatherReader {
public:
    GatherReader(int port, std::size_t bytes) : socket_(TcpSocket::connected(port)), memory_(bytes) {}
    /// `shape` is one of kLoopShapes. Throws std::runtime_error when the sender has closed.
    void fetch(const LoopShape& shape);

private:
    TcpSocket socket_;
    std::vector<std::uint8_t> memory_;
};

}  // namespace chiral::bench
