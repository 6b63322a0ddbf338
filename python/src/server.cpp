// SPDX-License-Identifier: Apache-2.0
// The server as Python sees it: sources by index, arrays that have been checked, times in seconds.
#include "held_server.hpp"
#include "observation.hpp"
#include "options.hpp"
#include "sources.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <tuple>

namespace chiral::python {
namespace {

ServerOptions with_readers(ServerOptions options) {
    options.engine.readers = HeldServer::kViews + 1;
    options.handle_signals = false;      // they are Python's
    options.hooks_one_at_a_time = true;  // as documented
    options.quiesce = Duration::zero();  // sensor threads of Python keep the server alive
    return options;
}

TimePoint time_point(double seconds) {
    return TimePoint(std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds)));
}

nb::handle hooks_of(const Grave* grave) { return grave->object; }

}  // namespace

void require(const Status& status) {
    switch (status.code()) {
        case Errc::ok: return;
        case Errc::wrong_size:
        case Errc::not_finite:
        case Errc::no_depth: throw nb::value_error(status.message().c_str());
        default: throw std::runtime_error(status.message());
    }
}

HeldCall::Lent::Lent() : held_(new HeldCall), object_(nb::cast(held_, nb::rv_policy::take_ownership)) {}

// ---- HeldServer ----

HeldServer::HeldServer(std::vector<CameraConfig> cameras, std::vector<ProprioConfig> proprios, std::string host, int port,
                       ServerOptions options, const ReaderScope& brief_looks, nb::object hooks)
    : PolicyServer(std::move(cameras), std::move(proprios), std::move(host), port, with_readers(std::move(options))),
      hooks_(new HooksGrave) {
    hooks_->object = hooks.release().ptr();
    hooks_->free = [](Grave* grave) { delete static_cast<HooksGrave*>(grave); };
    for (std::size_t i = 0; i < configs_.size(); ++i) camera_turns_.push_back(std::make_unique<FieldTurns>());
    for (std::size_t i = 0; i < proprio_configs_.size(); ++i)
        proprio_turns_.push_back(std::make_unique<std::binary_semaphore>(1));
    for (std::size_t i = 0; i < engine().slots().size(); ++i)
        slot_turns_.push_back(std::make_unique<std::binary_semaphore>(1));
    view_readers_.reserve(kViews);
    for (int rank = 0; rank < kViews; ++rank) view_readers_.push_back({engine().make_reader(scope_of_view(rank)), false});
    brief_reader_.emplace(engine().make_reader(brief_looks));
}

HeldServer::~HeldServer() {
    retire();
    stop();
    wait();
    bury(*hooks_);
}

std::function<void()> HeldServer::last_hooks() {
    const std::shared_ptr<HeldServer> self = weak_from_this().lock();
    if (!self) return {};  // its destructor, which has begun, waits for them
    return [self] {
        try {  // hooks that wait on the event loop are Python's to end
            with_gil([&] { call_python(hooks_of(self->hooks_), "stop", {}); });
        } catch (const std::exception&) {  // then there are none, or they outlast our patience
        }
        self->wait();
    };
}

void HeldServer::begin_serving() {
    begun_.store(false);
    serve();
    begun_.store(true);
}

bool HeldServer::give_up() noexcept {
    if (!begun_.exchange(false)) return false;
    stop();
    return true;
}

InfoMap HeldServer::get_metadata() {
    InfoMap metadata;
    with_gil([&] { metadata = to_info(call_python(hooks_of(hooks_), "get_metadata", {})); });
    return metadata;
}

std::pair<Observation, InfoMap> HeldServer::reset() {
    std::pair<Observation, InfoMap> result;
    with_gil([&] {
        const HeldCall::Lent call;
        const nb::object answer = call_python(hooks_of(hooks_), "reset", {call.object()});
        if (answer.is_none()) throw NotCalled();
        result = {to_observation(answer[0]), to_info(answer[1])};
    });
    declare_encoded(result.first);
    return result;
}

void HeldServer::declare_encoded(Observation& observation) const {
    for (CameraInfo& camera : observation.cameras)
        for (const CameraConfig& config : configs_) {
            if (config.encoding == FrameEncoding::raw || config.name != camera.name || camera.image_shape.size() != 1)
                continue;
            camera.image_encoding = ImageEncoding::jpeg;
            camera.image_shape = {config.height, config.width, config.channels};
        }
}

Observation HeldServer::get_obs() {
    Observation observation;
    with_gil([&] { observation = to_observation(call_python(hooks_of(hooks_), "get_obs", {})); });
    declare_encoded(observation);
    return observation;
}

void HeldServer::apply_action(const Action& action) {
    const auto n = static_cast<std::size_t>(action.N);
    const auto d = static_cast<std::size_t>(action.D);
    const std::array<std::size_t, 2> shape{n, d};
    const std::span<const std::size_t> sizes = n == 1 ? std::span(shape).subspan(1) : std::span(shape);
    with_gil([&] {
        const HeldCall::Lent call;
        const nb::object array = array_copy(action.data.data(), nb::dtype<float>(), sizes);
        if (!nb::cast<bool>(call_python(hooks_of(hooks_), "apply_action", {array, call.object()}))) throw NotCalled();
    });
}

void HeldServer::on_connect(const std::string& peer) {
    with_gil([&] {
        const nb::object end =
            nb::cpp_function([end = PendingCall::of_this_thread()->ender()](std::string_view reason) { end(reason); });
        call_python(hooks_of(hooks_), "on_connect", {nb::cast(peer), end});
    });
}

void HeldServer::on_disconnect(const std::string& reason) {
    with_gil([&] { call_python(hooks_of(hooks_), "on_disconnect", {nb::cast(reason)}); });
}

void HeldServer::on_action_timeout() {
    with_gil([&] { call_python(hooks_of(hooks_), "on_action_timeout", {}); });
}

HeldServer::Turn::Turn(std::binary_semaphore& free) : free_(&free) {
    if (free.try_acquire()) return;
    const GilFree no_gil;
    if (!no_gil.released()) throw std::runtime_error("chiral: the interpreter is ending");
    free.acquire();
}

HeldServer::Turn HeldServer::turn(std::size_t camera, Field field) {
    if (camera >= camera_turns_.size()) throw nb::index_error("unknown camera");
    return Turn(camera_turns_[camera]->of[static_cast<std::size_t>(field)]);
}

HeldServer::Turn HeldServer::proprio_turn(std::size_t proprio) {
    if (proprio >= proprio_turns_.size()) throw nb::index_error("unknown proprio");
    return Turn(*proprio_turns_[proprio]);
}

HeldServer::Turn HeldServer::slot_turn(std::size_t slot) {
    if (slot >= slot_turns_.size()) throw nb::index_error("unknown slot");
    return Turn(*slot_turns_[slot]);
}

int HeldServer::views(std::size_t camera, bool depth) const {
    const CameraConfig& config = configs_.at(camera);
    const std::optional<int>& own = depth && config.depth_readers ? config.depth_readers : config.readers;
    return own ? *own - 1 : kViews;  // without the reader for brief looks
}

ReaderScope HeldServer::scope_of_view(int rank) const {
    ReaderScope scope;
    scope.cameras.emplace();
    scope.depths.emplace();
    scope.slots.emplace();
    scope.proprios.emplace();
    for (std::size_t i = 0; i < configs_.size(); ++i) {
        if (rank < views(i, false)) scope.cameras->push_back(configs_[i].name);
        if (rank < views(i, true)) scope.depths->push_back(configs_[i].name);
    }
    return scope;
}

Reader* HeldServer::take_reader(std::size_t camera, bool depth) {
    const std::lock_guard lock(readers_);
    for (int rank = views(camera, depth) - 1; rank >= 0; --rank) {  // those that look at less first
        ViewReader& view = view_readers_[static_cast<std::size_t>(rank)];
        if (!std::exchange(view.taken, true)) return &view.reader;
    }
    return nullptr;
}

void HeldServer::give_back(const Reader* reader) noexcept {
    const std::lock_guard lock(readers_);
    for (ViewReader& view : view_readers_)
        if (&view.reader == reader) view.taken = false;
}

// ---- what Python calls ----

namespace {

std::shared_ptr<HeldServer> make_server(const std::vector<CameraTuple>& cameras, const std::vector<ProprioTuple>& proprios,
                                        const std::vector<SlotTuple>& slots, std::string host, int port,
                                        const nb::dict& options, nb::object hooks) {
    std::vector<CameraConfig> camera_configs;
    for (const CameraTuple& camera : cameras) camera_configs.push_back(camera_config(camera));
    std::vector<ProprioConfig> proprio_configs;
    for (const ProprioTuple& proprio : proprios) proprio_configs.push_back(proprio_config(proprio));
    ServerOptions all = server_options(options);
    ReaderScope brief_looks;
    brief_looks.slots.emplace();
    for (const SlotTuple& slot : slots) {
        const SlotConfig& config = all.engine.slots.emplace_back(slot_config(slot));
        if (config.readers != 0) brief_looks.slots->push_back(config.name);
    }
    return std::make_shared<HeldServer>(std::move(camera_configs), std::move(proprio_configs), std::move(host), port,
                                        std::move(all), brief_looks, std::move(hooks));
}

/// What the Python object holds. The native server ends on a thread of its own: whoever drops the last reference may be a hook.
class ServerHandle {
public:
    explicit ServerHandle(std::shared_ptr<HeldServer> server) : server_(std::move(server)) {}
    ServerHandle(const ServerHandle&) = delete;
    ~ServerHandle() {
        if (!server_->own_process()) new std::shared_ptr<HeldServer>(std::move(server_));  // its threads are the parent's
        else in_background([server = std::move(server_)]() mutable { server.reset(); });
    }

    HeldServer& operator*() const {
        server_->require_own_process("PolicyServer");
        return *server_;
    }
    HeldServer* operator->() const { return &**this; }
    const std::shared_ptr<HeldServer>& shared() const noexcept { return server_; }

private:
    std::shared_ptr<HeldServer> server_;
};

using Captured = std::optional<double>;

void update_image(const ServerHandle& server, std::size_t camera, nb::handle array, Captured captured) {
    const ArrayBytes bytes(array);
    Status status;
    {
        const auto turn = server->turn(camera, Field::image);
        const GilFree no_gil;
        status = server->engine().update_image(camera, bytes.data(), bytes.size(),
                                               captured ? time_point(*captured) : Clock::now());
    }
    require(status);
}

void update_depth(const ServerHandle& server, std::size_t camera, nb::handle array, Captured captured) {
    const ArrayBytes bytes(array);
    Status status;
    {
        const auto turn = server->turn(camera, Field::depth);
        const GilFree no_gil;
        status = server->engine().update_depth(camera, bytes.data(), bytes.size(),
                                               captured ? time_point(*captured) : Clock::now());
    }
    require(status);
}

void update_intrinsics(const ServerHandle& server, std::size_t camera, nb::handle K, Captured captured) {
    const auto turn = server->turn(camera, Field::intrinsics);
    require(server->engine().update_intrinsics(camera, to_matrix<3>(K), captured ? time_point(*captured) : Clock::now()));
}

void update_extrinsics(const ServerHandle& server, std::size_t camera, nb::handle T, Captured captured) {
    const auto turn = server->turn(camera, Field::extrinsics);
    require(server->engine().update_extrinsics(camera, to_matrix<4>(T), captured ? time_point(*captured) : Clock::now()));
}

void update_proprio(const ServerHandle& server, std::size_t proprio, nb::handle values, Captured captured) {
    const ArrayBytes bytes(values);
    const auto turn = server->proprio_turn(proprio);
    require(server->engine().update_proprio(proprio, reinterpret_cast<const float*>(bytes.data()),
                                            bytes.size() / sizeof(float), captured ? time_point(*captured) : Clock::now()));
}

void update_slot(const ServerHandle& server, std::size_t slot, nb::handle value, Captured captured) {
    const ArrayBytes bytes(value);
    const auto turn = server->slot_turn(slot);
    require(server->engine().update_slot(slot, bytes.data(), bytes.size(), captured ? time_point(*captured) : Clock::now()));
}

nb::bytes slot(const ServerHandle& server, std::size_t index) {
    if (index >= server->engine().slots().size()) throw nb::index_error("unknown slot");
    nb::bytes value;
    server->look([&](const Snapshot& snapshot) {
        const auto bytes = snapshot.slot(index).bytes();
        if (bytes.empty())
            throw nb::value_error(("slot '" + snapshot.slot(index).config().name + "' has readers = 0").c_str());
        value = nb::bytes(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    });
    return value;
}

/// Keeps an observation's pixels for the arrays that show them.
struct HeldObservation {
    OfThisProcess<Observation> observation;
};

nb::object make_obs(const ServerHandle& server, double timestamp) {
    drop_buried();  // what was sent lends its slots again
    auto* const held =
        new HeldObservation{OfThisProcess<Observation>(std::make_unique<Observation>(server->make_obs(timestamp)))};
    const nb::object owner = nb::cast(held, nb::rv_policy::take_ownership);
    return to_python(*held->observation, owner, false);
}

nb::object proprio(const ServerHandle& server, std::size_t index, std::optional<double> time) {
    const auto& configs = server->engine().proprios();
    if (index >= configs.size()) throw nb::index_error("unknown proprio");
    std::vector<float> values(static_cast<std::size_t>(configs[index].size));
    Stamp stamp;
    const ProprioRead how = time ? server->engine().proprio_at(index, time_point(*time), values, &stamp)
                                 : server->engine().latest_proprio(index, values, &stamp);
    constexpr const char* names[] = {"latest", "interpolated", "after_newest", "before_oldest", "empty", "overrun"};
    return nb::make_tuple(array_copy(values.data(), nb::dtype<float>(), std::array<std::size_t, 1>{values.size()}),
                          stamp.sequence > 0 ? to_seconds(stamp.captured) : 0.0, names[static_cast<int>(how)]);
}

bool wait_frame(const ServerHandle& server, std::size_t camera, std::uint64_t after, double timeout) {
    const TimePoint deadline = Clock::now() + std::min<Duration>(to_duration(timeout), std::chrono::hours(24 * 365));
    for (;;) {  // in slices, so that a signal or the end of the interpreter is not kept waiting
        const TimePoint now = Clock::now();
        bool came = false;
        {
            const GilFree no_gil;
            came = server->engine().wait_frame(camera, after, std::min(deadline, now + std::chrono::milliseconds(50)));
        }
        if (came || now >= deadline) return came;
        if (PyErr_CheckSignals() != 0) throw nb::python_error();
    }
}

nb::dict stats(const ServerHandle& server) {
    const ServerStats counted = server->stats();
    nb::dict dict;
    const auto add = [&](const char* name, auto value) { dict[name] = nb::cast(value); };
    const auto seconds = [](Duration duration) { return std::chrono::duration<double>(duration).count(); };
    add("connections", counted.connections);
    add("refused", counted.refused);
    add("observers", counted.observers);
    add("observations", counted.observations);
    add("bytes_sent", counted.bytes_sent);
    add("actions_received", counted.actions_received);
    add("actions_applied", counted.actions_applied);
    add("actions_rejected", counted.actions_rejected);
    add("actions_clamped", counted.actions_clamped);
    add("actions_dropped", counted.actions_dropped);
    add("actions_late", counted.actions_late);
    add("action_timeouts", counted.action_timeouts);
    add("half_open", counted.half_open);
    add("longest_half_open", seconds(counted.longest_half_open));
    add("longest_timeout_delay", seconds(counted.longest_timeout_delay));
    add("protocol_errors", counted.protocol_errors);
    add("hook_errors", counted.hook_errors);
    add("update_errors", counted.update_errors);
    add("copied_observations", counted.copied_observations);
    return dict;
}

}  // namespace

std::shared_ptr<HeldServer> shared_server(nb::handle handle) {
    const auto& server = nb::cast<const ServerHandle&>(handle);
    server->require_own_process("PolicyServer");
    return server.shared();
}

void bind_server(nb::module_& module) {
    nb::class_<HeldObservation>(module, "HeldObservation");
    nb::class_<HeldCall>(module, "PendingCall").def("counts", &HeldCall::counts);
    nb::class_<ServerHandle>(module, "Server", nb::is_weak_referenceable())
        .def(
            "__init__",
            [](ServerHandle* self, const std::vector<CameraTuple>& cameras, const std::vector<ProprioTuple>& proprios,
               const std::vector<SlotTuple>& slots, std::string host, int port, const nb::dict& options, nb::object hooks) {
                new (self)
                    ServerHandle(make_server(cameras, proprios, slots, std::move(host), port, options, std::move(hooks)));
            },
            nb::arg("cameras"), nb::arg("proprios"), nb::arg("slots"), nb::arg("host"), nb::arg("port"), nb::arg("options"),
            nb::arg("hooks"))
        .def(
            "serve",
            [](const ServerHandle& server, std::string host, int port) {
                HeldServer* const held = &*server;
                held->listen_on(std::move(host), port);
                block_without_gil([held] { held->begin_serving(); }, [held] { held->stop(); });
            },
            nb::arg("host"), nb::arg("port"))
        .def("stop", [](const ServerHandle& server) { server->stop(); })
        .def("give_up", [](const ServerHandle& server) { return server->give_up(); })
        .def("wait",
             [](const ServerHandle& server) {
                 HeldServer* const held = &*server;
                 block_without_gil([held] { held->wait(); }, [held] { held->stop(); });
             })
        .def_prop_ro("port", [](const ServerHandle& server) { return server->port(); })
        .def("stats", &stats)
        .def("update_image", &update_image, nb::arg("camera"), nb::arg("array"), nb::arg("captured").none() = nb::none())
        .def("update_depth", &update_depth, nb::arg("camera"), nb::arg("array"), nb::arg("captured").none() = nb::none())
        .def("update_intrinsics", &update_intrinsics, nb::arg("camera"), nb::arg("K"),
             nb::arg("captured").none() = nb::none())
        .def("update_extrinsics", &update_extrinsics, nb::arg("camera"), nb::arg("T"),
             nb::arg("captured").none() = nb::none())
        .def("update_proprio", &update_proprio, nb::arg("proprio"), nb::arg("values"),
             nb::arg("captured").none() = nb::none())
        .def("update_slot", &update_slot, nb::arg("slot"), nb::arg("value"), nb::arg("captured").none() = nb::none())
        .def("slot", &slot, nb::arg("index"))
        .def("make_obs", &make_obs, nb::arg("timestamp"))
        .def("proprio", &proprio, nb::arg("index"), nb::arg("time").none())
        .def(
            "newest_frame",
            [](const ServerHandle& server, std::size_t camera) { return server->engine().newest_frame(camera); },
            nb::arg("camera"))
        .def("wait_frame", &wait_frame, nb::arg("camera"), nb::arg("after"), nb::arg("timeout"));
}

}  // namespace chiral::python
