// SPDX-License-Identifier: Apache-2.0
// The native server that a Python PolicyServer holds. It knows the hooks only through an object with a weak reference to the
// Python one, so that neither keeps the other alive.
#pragma once

#include "interpreter.hpp"

#include <chiral/pending_call.hpp>
#include <chiral/server.hpp>

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <semaphore>
#include <string>
#include <utility>
#include <vector>

namespace chiral::python {

/// What Python may ask of the call of a hook that moves the robot: on any thread, with the GIL.
class HeldCall {
public:
    bool counts() const noexcept { return call_ != nullptr && call_->counts(); }

    /// Gives it to Python for as long as the call lasts. Made and destroyed on the thread of the hook, with the GIL.
    class Lent {
    public:
        Lent();
        Lent(const Lent&) = delete;
        ~Lent() { held_->call_ = nullptr; }
        nb::handle object() const noexcept { return object_; }

    private:
        HeldCall* const held_;
        const nb::object object_;
    };

private:
    const PendingCall* call_{PendingCall::of_this_thread()};
};

class HeldServer final : public PolicyServer, public Endable, public std::enable_shared_from_this<HeldServer> {
public:
    HeldServer(std::vector<CameraConfig> cameras, std::vector<ProprioConfig> proprios, std::string host, int port,
               ServerOptions options, const ReaderScope& brief_looks, nb::object hooks);
    ~HeldServer() override;

    void end() noexcept override { stop(); }
    std::function<void()> last_hooks() override;

    /// serve(), of which can be known afterwards whether it has succeeded.
    void begin_serving();
    /// Stops what begin_serving() has begun. False if that is nothing.
    bool give_up() noexcept;

    /// Where serve() will listen. Not while it serves.
    void listen_on(std::string host, int port) {
        host_ = std::move(host);
        port_ = port;
    }

    using PolicyServer::begin_frame;
    using PolicyServer::make_obs;

    // ---- hooks: on threads of the server ----
    InfoMap get_metadata() override;
    std::pair<Observation, InfoMap> reset() override;
    Observation get_obs() override;
    void apply_action(const Action& action) override;
    void on_connect(const std::string& peer) override;
    void on_disconnect(const std::string& reason) override;
    void on_action_timeout() override;

    // ---- writers ----
    // The engine tells a second writer of a field that it is busy. Python programs expect it to wait for its turn.

    /// One turn at a field. Releases the GIL only if it has to wait.
    class Turn {
    public:
        explicit Turn(std::binary_semaphore& free);
        Turn(Turn&& other) noexcept : free_(std::exchange(other.free_, nullptr)) {}
        Turn& operator=(Turn&&) = delete;
        ~Turn() {
            if (free_ != nullptr) free_->release();
        }

    private:
        std::binary_semaphore* free_;
    };
    /// Throw IndexError for an unknown index.
    Turn turn(std::size_t camera, Field field);
    Turn proprio_turn(std::size_t proprio);
    Turn slot_turn(std::size_t slot);

    // ---- readers ----

    /// A free reader that looks at this camera, at its depth map, too, if that is wanted, or null. It stays the server's.
    Reader* take_reader(std::size_t camera, bool depth);
    void give_back(const Reader* reader) noexcept;
    /// Calls `use` with a snapshot that ends with the call. Any number of threads.
    template <class Use>
    void look(Use use) {
        const std::lock_guard lock(readers_);
        const Snapshot snapshot = brief_reader_->snapshot();
        use(snapshot);
    }

    /// Views that pin, beside the one reader for brief looks.
    static constexpr int kViews = 2;

private:
    struct ViewReader {
        Reader reader;
        bool taken;
    };
    // The views that are pinned of a camera, or of its depth map, at once.
    int views(std::size_t camera, bool depth) const;
    ReaderScope scope_of_view(int rank) const;
    // The vectors of bytes that Python returns for cameras of JPEGs are encoded pixels.
    void declare_encoded(Observation& observation) const;

    struct FieldTurns {
        std::binary_semaphore of[4]{std::binary_semaphore(1), std::binary_semaphore(1), std::binary_semaphore(1),
                                    std::binary_semaphore(1)};
    };
    struct HooksGrave : Grave {};

    HooksGrave* hooks_;
    std::atomic<bool> begun_{false};
    std::vector<std::unique_ptr<FieldTurns>> camera_turns_;
    std::vector<std::unique_ptr<std::binary_semaphore>> proprio_turns_;
    std::vector<std::unique_ptr<std::binary_semaphore>> slot_turns_;
    std::mutex readers_;
    std::vector<ViewReader> view_readers_;  // the first looks at what any of them does
    std::optional<Reader> brief_reader_;
};

/// Throws ValueError or RuntimeError with the status's message, unless it is good.
void require(const Status& status);

void bind_server(nb::module_& module);
void bind_views(nb::module_& module);
void bind_client(nb::module_& module);
void bind_probe(nb::module_& module);

}  // namespace chiral::python
