// SPDX-License-Identifier: Apache-2.0
// gRPC as a peer of bench/side_by_side.py: bytes that are asked for, over one bidirectional stream.
//
//     chiral-grpc-peer give NAME BYTES 0           says "ready ADDRESS", answers until its standard input ends
//     chiral-grpc-peer take ADDRESS BYTES asked N  prints N figures, nanoseconds, as a JSON array
//
// Its best form: no Protocol Buffers between (they would copy), the answer refers to memory that stays, frames and windows are as large as they may
// be, and reactors are called on gRPC's own threads. A message comes in slices; who wants an array copies them together once, which is in
// the figures, as the arrays of the others are.
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr int kLargestFrame = (1 << 24) - 1;  // what HTTP/2 allows

class Answers final : public grpc::CallbackGenericService {
public:
    explicit Answers(std::size_t bytes) : bytes_(bytes, 1) {}

private:
    class Stream final : public grpc::ServerGenericBidiReactor {
    public:
        explicit Stream(const std::vector<std::uint8_t>& bytes)
            : slice_(bytes.data(), bytes.size(), grpc::Slice::STATIC_SLICE), answer_(&slice_, 1) {
            StartRead(&request_);
        }
        void OnReadDone(bool ok) override {
            if (ok) StartWrite(&answer_);
            else Finish(grpc::Status::OK);
        }
        void OnWriteDone(bool ok) override {
            answer_ = grpc::ByteBuffer(&slice_, 1);
            if (ok) StartRead(&request_);
            else Finish(grpc::Status::OK);
        }
        void OnDone() override { delete this; }

    private:
        grpc::Slice slice_;
        grpc::ByteBuffer request_, answer_;
    };
    grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override {
        return new Stream(bytes_);
    }

    const std::vector<std::uint8_t> bytes_;
};

void give(std::size_t bytes) {
    Answers answers(bytes);
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterCallbackGenericService(&answers);
    builder.SetMaxSendMessageSize(-1);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_FRAME_SIZE, kLargestFrame);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_WRITE_BUFFER_SIZE, kLargestFrame);
    const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
    if (!server) throw std::runtime_error("gRPC's server does not start");
    fmt::print("ready 127.0.0.1:{}\n", port);
    std::fflush(stdout);
    for (char byte; ::read(STDIN_FILENO, &byte, 1) > 0;) {}
    server->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(100));
}

class Asking final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
public:
    explicit Asking(const std::string& address) {
        grpc::ChannelArguments arguments;
        arguments.SetMaxReceiveMessageSize(-1);
        arguments.SetInt(GRPC_ARG_HTTP2_MAX_FRAME_SIZE, kLargestFrame);
        arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 1 << 26);
        arguments.SetInt(GRPC_ARG_TCP_READ_CHUNK_SIZE, 1 << 20);
        arguments.SetInt(GRPC_ARG_TCP_MAX_READ_CHUNK_SIZE, 1 << 22);
        stub_ = std::make_unique<grpc::GenericStub>(
            grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
        stub_->PrepareBidiStreamingCall(&context_, "/observations/stream", grpc::StubOptions(), this);
        StartCall();
        request_ = grpc::ByteBuffer(&question_, 1);
    }

    /// Asks, and returns when all has come and lies in one piece.
    void fetch(std::vector<std::uint8_t>& into) {
        StartRead(&answer_);
        grpc::ByteBuffer request(request_);
        StartWrite(&request);
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return (read_ && written_) || over_; });
        if (over_) throw std::runtime_error("gRPC's stream has ended");
        read_ = written_ = false;
        lock.unlock();
        std::vector<grpc::Slice> slices;
        if (!answer_.Dump(&slices).ok() || answer_.Length() != into.size()) throw std::runtime_error("gRPC's answer is cut");
        std::uint8_t* to = into.data();
        for (const grpc::Slice& slice : slices) {
            std::memcpy(to, slice.begin(), slice.size());
            to += slice.size();
        }
    }
    void end() {
        StartWritesDone();
        context_.TryCancel();
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return done_; });
    }

private:
    void OnReadDone(bool ok) override { note(read_, ok); }
    void OnWriteDone(bool ok) override { note(written_, ok); }
    void OnDone(const grpc::Status&) override {
        const std::lock_guard lock(mutex_);
        over_ = done_ = true;
        changed_.notify_all();
    }
    void note(bool& what, bool ok) {
        const std::lock_guard lock(mutex_);
        (ok ? what : over_) = true;
        changed_.notify_all();
    }

    std::unique_ptr<grpc::GenericStub> stub_;
    grpc::ClientContext context_;
    const grpc::Slice question_{std::string(1, '?')};
    grpc::ByteBuffer request_, answer_;
    std::mutex mutex_;
    std::condition_variable changed_;
    bool read_{false}, written_{false}, over_{false}, done_{false};
};

void take(const std::string& address, std::size_t bytes, int count) {
    Asking asking(address);
    std::vector<std::uint8_t> received(bytes);
    std::vector<std::int64_t> times;
    constexpr int warm_ups = 10;
    for (int i = -warm_ups; i < count; ++i) {
        const auto began = std::chrono::steady_clock::now();
        asking.fetch(received);
        const auto took = std::chrono::steady_clock::now() - began;
        if (i >= 0) times.push_back(std::chrono::nanoseconds(took).count());
    }
    asking.end();
    fmt::print("[{}]\n", fmt::join(times, ", "));
}

}  // namespace

int main(int argc, char** argv) try {
    const std::vector<std::string> told(argv + 1, argv + argc);
    if (told.size() == 4 && told[0] == "give") {
        give(std::stoul(told[2]));
    } else if (told.size() == 5 && told[0] == "take") {
        take(told[1], std::stoul(told[2]), std::stoi(told[4]));
    } else {
        throw std::invalid_argument("expected: give NAME BYTES 0, or take ADDRESS BYTES asked N");
    }
    return 0;
} catch (const std::exception& error) {
    std::fprintf(stderr, "chiral-grpc-peer: %s\n", error.what());
    return 1;
}
