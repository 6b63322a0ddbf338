// SPDX-License-Identifier: Apache-2.0
// The floor under an observation's round trip: one byte asks, gather writes of the same buffers answer, and a loop of reads
// takes it into memory that is used again. Sockets on loopback with TCP_NODELAY and the system's buffer sizes, which is what
// the server's have. The buffers go in steps of the size that was fastest of those tried: see tcp_loop.cpp.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

namespace chiral::bench {

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
    bool read_all(void* data, std::size_t size) const;
    void write_all(std::vector<iovec> pieces) const;
    /// Closes both directions, so that a thread that is blocked on it goes on.
    void shut() const;

private:
    explicit TcpSocket(int descriptor) : descriptor_(descriptor) {}
    int descriptor_;
};

/// Answers each byte that comes by one gather write of pieces of these sizes, from memory of its own. One peer after the
/// other.
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

}  // namespace chiral::bench
