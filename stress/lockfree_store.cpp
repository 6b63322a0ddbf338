// SPDX-License-Identifier: Apache-2.0
// chiral::Engine as a store under stress. Served, it is the engine inside a PolicyServer.
#include "engines.hpp"

#include <chiral/guests.hpp>
#include <chiral/server.hpp>

#include <algorithm>
#include <array>
#include <optional>
#include <stdexcept>

namespace chiral::stress {
namespace {

using RowMajor3 = Eigen::Matrix<double, 3, 3, Eigen::RowMajor>;
using RowMajor4 = Eigen::Matrix<double, 4, 4, Eigen::RowMajor>;

std::uint32_t checked(const Status& status) {
    if (status.code() == Errc::writer_busy) throw WriterBusy(status.message());
    if (!status.ok()) throw std::runtime_error(status.message());
    return status.steps();
}

std::chrono::nanoseconds since_epoch(TimePoint time) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch());
}

class LockfreeReader final : public StoreReader {
public:
    explicit LockfreeReader(Engine& engine) : reader_(engine.make_reader()) {
        look_.cameras.resize(engine.cameras().size());
        look_.proprios.resize(engine.proprios().size());
    }

    const Look& look() override {
        snapshot_.emplace(reader_.snapshot());
        for (std::size_t i = 0; i < look_.cameras.size(); ++i) {
            const CameraView view = snapshot_->camera(i);
            CameraLook& camera = look_.cameras[i];
            camera.image = view.image();
            camera.depth = view.depth_bytes();
            camera.intrinsics = view.intrinsics();
            camera.extrinsics = view.extrinsics();
            for (std::size_t f = 0; f < kFields; ++f) {
                const Stamp stamp = view.stamp(kFieldOrder[f]);
                camera.sequence[f] = stamp.sequence;
                camera.captured[f] = since_epoch(stamp.captured);
            }
        }
        for (std::size_t i = 0; i < look_.proprios.size(); ++i) {
            const ProprioView view = snapshot_->proprio(i);
            look_.proprios[i] = {view.values(), view.sequence(), since_epoch(view.captured()),
                                 view.how() == ProprioRead::overrun};
        }
        look_.steps = snapshot_->steps();
        return look_;
    }

    bool release() override {
        const bool intact = snapshot_->intact();
        snapshot_.reset();
        return intact;
    }

private:
    Reader reader_;
    std::optional<Snapshot> snapshot_;
    Look look_;
};

EngineOptions engine_options(const StoreSetup& setup) {
    EngineOptions options;
    options.readers = setup.readers;
    options.verify_pins = true;
    return options;
}

ServerOptions server_options(const StoreSetup& setup) {
    ServerOptions options;
    options.engine = engine_options(setup);
    options.handle_signals = false;
    options.deaf_timeout = options.idle_timeout = setup.idle_timeout;
    options.max_action_delay = Duration::zero();  // every action counts, however busy the machine
    options.quiesce = {};                         // the harness joins its writers before it destroys the store
    options.log = [](const std::string&) {};
    options.local_socket = setup.local_socket;
    options.access.local.max_observers = setup.local_observers;
    options.access.local.direct_readers = setup.direct_readers;
    options.max_observers = setup.listen ? kObservers : 0;
    if (setup.listen) options.handshake_timeout = setup.idle_timeout;
    return options;
}

// Whoever is let in may send actions: nothing moves.
class Served final : public PolicyServer {
public:
    using PolicyServer::PolicyServer;
    void apply_action(const Action&) override {}
};

class LockfreeStore final : public SensorStore {
public:
    explicit LockfreeStore(const StoreSetup& setup)
        : writes_(setup.writes),
          server_(setup.served ? std::make_unique<Served>(setup.cameras, setup.proprios, "127.0.0.1",
                                                          setup.listen.value_or(0), server_options(setup))
                               : nullptr),
          own_(setup.served ? nullptr : std::make_unique<Engine>(setup.cameras, setup.proprios, engine_options(setup))),
          engine_(setup.served ? server_->engine() : *own_),
          cameras_(setup.cameras.size()),
          proprio_steps_(setup.proprios.size()) {}

    void begin(std::size_t camera) override {
        cameras_[camera].steps = 0;
        if (writes_ == Writes::frame) cameras_[camera].frame.emplace(engine_.begin_frame(camera));
    }

    void fill(std::size_t camera, Field field, const void* data, TimePoint captured) override {
        if (writes_ == Writes::frame) fill_in_place(*cameras_[camera].frame, field, data);
        else cameras_[camera].steps = std::max(cameras_[camera].steps, checked(update(camera, field, data, captured)));
    }

    void commit(std::size_t camera, TimePoint captured) override {
        if (writes_ == Writes::frame) cameras_[camera].steps = checked(cameras_[camera].frame->commit(captured));
    }

    void update_proprio(std::size_t stream, std::span<const float> values, TimePoint captured) override {
        proprio_steps_[stream].value = checked(append(stream, values, captured));
    }

    std::uint32_t last_camera_steps(std::size_t camera) const override { return cameras_[camera].steps; }
    std::uint32_t last_proprio_steps(std::size_t stream) const override { return proprio_steps_[stream].value; }
    std::size_t slots_per_field() const override {
        return static_cast<std::size_t>(engine_.options().readers + kGuestPins * engine_.options().guests) + 2;
    }
    std::uint32_t writer_step_bound() const override { return engine_.writer_step_bound(); }
    std::uint32_t reader_step_bound() const override { return engine_.reader_step_bound(); }
    std::unique_ptr<StoreReader> make_reader() override { return std::make_unique<LockfreeReader>(engine_); }
    Engine* engine() override { return &engine_; }
    PolicyServer* server() override { return server_.get(); }

private:
    // A line each: every one belongs to another thread.
    struct alignas(64) CameraWriter {
        std::optional<Frame> frame;
        std::uint32_t steps{0};
    };
    struct alignas(64) Steps {
        std::uint32_t value{0};
    };

    // An error is kept in the frame, and commit() says it.
    static void fill_in_place(Frame& frame, Field field, const void* data) {
        switch (field) {
            case Field::image: {
                const auto slot = frame.image();
                std::copy_n(static_cast<const std::uint8_t*>(data), slot.size(), slot.begin());
                break;
            }
            case Field::depth: {
                const auto slot = frame.depth_bytes();
                std::copy_n(static_cast<const std::uint8_t*>(data), slot.size(), slot.begin());
                break;
            }
            case Field::intrinsics:
                frame.set_intrinsics(Eigen::Map<const RowMajor3>(static_cast<const double*>(data)));
                break;
            case Field::extrinsics:
                frame.set_extrinsics(Eigen::Map<const RowMajor4>(static_cast<const double*>(data)));
                break;
        }
    }

    Status update(std::size_t camera, Field field, const void* data, TimePoint captured) {
        const CameraConfig& config = engine_.cameras()[camera];
        const auto* bytes = static_cast<const std::uint8_t*>(data);
        const auto* values = static_cast<const double*>(data);
        switch (field) {
            case Field::image: return engine_.update_image(camera, bytes, image_bytes(config), captured);
            case Field::depth: return engine_.update_depth(camera, bytes, depth_bytes(config), captured);
            case Field::intrinsics: return engine_.update_intrinsics(camera, Eigen::Map<const RowMajor3>(values), captured);
            case Field::extrinsics: return engine_.update_extrinsics(camera, Eigen::Map<const RowMajor4>(values), captured);
        }
        return {};
    }

    Status append(std::size_t stream, std::span<const float> values, TimePoint captured) {
        switch (engine_.proprios()[stream].dtype) {
            case DType::float64: return append_as<double>(stream, values, captured);
            case DType::int32: return append_as<std::int32_t>(stream, values, captured);
            case DType::uint32: return append_as<std::uint32_t>(stream, values, captured);
            case DType::int64: return append_as<std::int64_t>(stream, values, captured);
            case DType::uint64: return append_as<std::uint64_t>(stream, values, captured);
            default: return engine_.update_proprio(stream, values.data(), values.size(), captured);
        }
    }

    // The patterns are integers that all these types hold.
    template <class T>
    Status append_as(std::size_t stream, std::span<const float> values, TimePoint captured) {
        std::array<T, 64> exact;
        for (std::size_t i = 0; i < values.size(); ++i) exact.at(i) = static_cast<T>(values[i]);
        return engine_.update_proprio_as<T>(stream, {exact.data(), values.size()}, captured);
    }

    const Writes writes_;
    const std::unique_ptr<PolicyServer> server_;
    const std::unique_ptr<Engine> own_;
    Engine& engine_;
    std::vector<CameraWriter> cameras_;
    std::vector<Steps> proprio_steps_;
};

}  // namespace

std::unique_ptr<SensorStore> make_lockfree_store(const StoreSetup& setup) { return std::make_unique<LockfreeStore>(setup); }

}  // namespace chiral::stress
