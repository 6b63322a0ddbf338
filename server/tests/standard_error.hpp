// SPDX-License-Identifier: Apache-2.0
// Standard error as a pipe, which tests fill, read, or do not read.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <stdexcept>
#include <string>
#include <utility>

namespace chiral::test {

/// Standard error of this process, for as long as the scope lasts, is a pipe.
class PipedStandardError {
public:
    PipedStandardError() : kept_(::dup(STDERR_FILENO)) {
        if (::pipe(ends_.data()) != 0) throw std::runtime_error("no pipe");
        ::dup2(ends_[1], STDERR_FILENO);
        ::close(ends_[1]);
    }
    ~PipedStandardError() {
        ::dup2(kept_, STDERR_FILENO);
        ::close(kept_);
        close_reading_end();
    }
    void close_reading_end() {
        if (ends_[0] >= 0) ::close(std::exchange(ends_[0], -1));
    }
    void fill() {
        const int flags = ::fcntl(STDERR_FILENO, F_GETFL);
        ::fcntl(STDERR_FILENO, F_SETFL, flags | O_NONBLOCK);
        const std::string block(4096, 'x');
        while (::write(STDERR_FILENO, block.data(), block.size()) > 0) {}
        ::fcntl(STDERR_FILENO, F_SETFL, flags);
    }
    std::string read_some() {
        std::array<char, 256> some;
        const ssize_t got = ::read(ends_[0], some.data(), some.size());
        return got > 0 ? std::string(some.data(), static_cast<std::size_t>(got)) : std::string();
    }

private:
    int kept_;
    std::array<int, 2> ends_{};
};

}  // namespace chiral::test
