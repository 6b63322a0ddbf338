// SPDX-License-Identifier: Apache-2.0
// The client as Python sees it. Observations are handed over as they were received; the package makes its dataclasses of them.
#include "held_server.hpp"
#include "observation.hpp"
#include "options.hpp"

#include <chiral/client.hpp>
#include <chiral/fleet.hpp>
#include <chiral/lookout.hpp>
#include <chiral/wire.hpp>

#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <memory>
#include <utility>

namespace chiral::python {
namespace {

class HeldClient final : public Endable {
public:
    HeldClient(std::string uri, ClientOptions options) : client(std::move(uri), std::move(options)) {}
    ~HeldClient() { retire(); }
    void end() noexcept override {
        try {
            client.close();
        } catch (...) {  // no thread to close it on: the process ends it
        }
    }

    PolicyClient client;
};

/// What the Python object holds; closing may take a moment, so that is done elsewhere.
class ClientHandle {
public:
    ClientHandle(std::string uri, const nb::dict& options)
        : held_(std::make_shared<HeldClient>(std::move(uri), client_options(options))) {}
    ClientHandle(const ClientHandle&) = delete;
    ~ClientHandle() {
        if (!held_->own_process()) new std::shared_ptr<HeldClient>(std::move(held_));  // its threads are the parent's
        else in_background([held = std::move(held_)]() mutable { held.reset(); });
    }

    PolicyClient& client() const {
        held_->require_own_process("PolicyClient");
        return held_->client;
    }
    /// Runs what may block; Ctrl-C closes the client to end it.
    template <class Work>
    void block(Work work) const {
        PolicyClient& on = client();
        const auto keep = held_;
        block_without_gil([&] { work(on); }, [&] { keep->end(); });
    }
    /// The same for requests and actions.
    template <class Work>
    void ask(Work work) const {
        PolicyClient& on = client();
        const auto keep = held_;
        ask_without_gil([&] { work(on); }, [&] { keep->end(); });
    }

private:
    std::shared_ptr<HeldClient> held_;
};

nb::object received(std::shared_ptr<const Observation> observation) {
    if (!observation) return nb::none();
    return nb::cast(ReceivedObservation{std::move(observation)});
}

Action to_action(nb::handle values, int n, int d, const std::optional<std::map<std::string, double>>& times) {
    Action action;
    action.N = n;
    action.D = d;
    action.data = ArrayBytes(values).floats();
    if (times) action.obs_timestamps = *times;
    return action;
}

using Times = std::optional<std::map<std::string, double>>;

nb::object get_metadata(const ClientHandle& self) {
    InfoMap metadata;
    self.ask([&](PolicyClient& client) { metadata = client.get_metadata(); });
    return to_python(metadata);
}

nb::object reset(const ClientHandle& self) {
    auto observation = std::make_shared<Observation>();
    InfoMap info;
    self.ask([&](PolicyClient& client) { std::tie(*observation, info) = client.reset(); });
    return nb::make_tuple(received(std::move(observation)), to_python(info));
}

/// What an encoded obs_request wants; nothing asks for the documented observation.
std::optional<Want> want_of(const std::optional<nb::bytes>& request) {
    if (!request) return std::nullopt;
    wire::Request decoded;
    try {
        wire::decode_request({reinterpret_cast<const std::uint8_t*>(request->c_str()), request->size()}, decoded);
    } catch (const wire::DecodeError& error) {
        throw nb::value_error(error.what());
    }
    return decoded.want ? std::optional<Want>(decoded.want->want) : std::nullopt;
}

nb::object get_obs(const ClientHandle& self, const std::optional<nb::bytes>& request) {
    const std::optional<Want> want = want_of(request);
    auto observation = std::make_shared<Observation>();
    self.ask([&](PolicyClient& client) {
        if (want) client.get_obs(*observation, *want);
        else client.get_obs(*observation);
    });
    return received(std::move(observation));
}

// An observation of that camera alone.
nb::object get_camera(const ClientHandle& self, const std::string& name) {
    auto observation = std::make_shared<Observation>();
    self.ask([&](PolicyClient& client) { client.get_camera(name, observation->cameras.emplace_back()); });
    return received(std::move(observation));
}

void start_obs_stream(const ClientHandle& self, double hz, const std::optional<nb::bytes>& request) {
    const std::optional<Want> want = want_of(request);
    self.block([&](PolicyClient& client) {
        if (want) client.start_obs_stream(hz, *want);
        else client.start_obs_stream(hz);
    });
}

// Waits in slices, for signals: `wait` for at most as long as it is told, without the GIL, until it says that it is done.
template <class Wait>
void wait_in_slices(double timeout, Wait wait) {
    const TimePoint deadline = Clock::now() + std::min<Duration>(to_duration(timeout), std::chrono::hours(24 * 365));
    for (;;) {
        const Duration left = deadline - Clock::now();
        bool done = false;
        {
            const GilFree no_gil;
            done = wait(std::clamp<Duration>(left, Duration::zero(), Lookout::period));
        }
        if (done || left <= Duration::zero()) return;
        if (PyErr_CheckSignals() != 0) throw nb::python_error();
    }
}

// Not on a thread of its own: starting one takes longer than waking up.
std::uint64_t wait_frame(const ClientHandle& self, const std::string& camera, std::uint64_t after, double timeout) {
    PolicyClient& client = self.client();
    std::uint64_t newest = 0;
    wait_in_slices(timeout, [&](Duration at_most) {
        newest = client.wait_frame(camera, after, at_most);
        return newest != 0;
    });
    return newest;
}

nb::object step(const ClientHandle& self, nb::handle values, int n, int d, const Times& times) {
    const Action action = to_action(values, n, d, times);
    auto result = std::make_shared<StepResult>();
    self.ask([&](PolicyClient& client) { client.step(action, *result); });
    const std::shared_ptr<const Observation> observation(result, &result->obs);
    return nb::make_tuple(received(observation), result->reward, result->terminated, result->truncated,
                          to_python(result->info));
}

// `previous` itself if that is still the latest.
nb::object latest(const ClientHandle& self, nb::handle previous) {
    std::shared_ptr<const Observation> observation = self.client().latest_obs();
    if (!previous.is_none() && nb::cast<const ReceivedObservation&>(previous).observation == observation)
        return nb::borrow(previous);
    return received(std::move(observation));
}

nb::object wait_obs(const ClientHandle& self, nb::handle previous, double timeout) {
    PolicyClient& client = self.client();
    const auto known = previous.is_none() ? nullptr : nb::cast<const ReceivedObservation&>(previous).observation;
    std::shared_ptr<const Observation> observation;
    wait_in_slices(timeout, [&](Duration at_most) {
        observation = client.wait_obs(known, at_most);
        return observation != nullptr;
    });
    return received(std::move(observation));
}

nb::list robots(const std::string& address, double patience, const nb::dict& options) {
    const ClientOptions given = client_options(options);
    std::vector<FoundRobot> found;
    {
        const GilFree no_gil;
        found = find_robots(address, to_duration(patience), given);
    }
    nb::list list;
    for (const FoundRobot& robot : found) list.append(nb::make_tuple(robot.prefix, robot.id));
    return list;
}

nb::dict stats(const ClientHandle& self) {
    const ClientStats counted = self.client().stats();
    nb::dict dict;
    dict["observations"] = counted.observations;
    dict["bytes_received"] = counted.bytes_received;
    dict["actions_sent"] = counted.actions_sent;
    dict["last_round_trip"] = counted.last_round_trip;
    return dict;
}

}  // namespace

void bind_client(nb::module_& module) {
    nb::exception<ConnectionError>(module, "ConnectionError", PyExc_ConnectionError);
    nb::exception<LoanError>(module, "LoanError", PyExc_RuntimeError);
    module.def("find_robots", &robots, nb::arg("address"), nb::arg("patience"), nb::arg("options"));
    nb::class_<ReceivedObservation>(module, "ReceivedObservation").def("values", [](nb::handle self) {
        return to_python(*nb::cast<const ReceivedObservation&>(self).observation, self, true);
    });
    nb::class_<ClientHandle>(module, "Client")
        .def(nb::init<std::string, const nb::dict&>(), nb::arg("uri"), nb::arg("options"))
        .def("connect", [](const ClientHandle& self) { self.block([](PolicyClient& client) { client.connect(); }); })
        .def("close", [](const ClientHandle& self) { self.block([](PolicyClient& client) { client.close(); }); })
        .def_prop_ro("connected", [](const ClientHandle& self) { return self.client().connected(); })
        .def("get_metadata", &get_metadata)
        .def("reset", &reset)
        .def("get_obs", &get_obs, nb::arg("request").none())
        .def("get_camera", &get_camera, nb::arg("name"))
        .def_prop_ro("reads_directly", [](const ClientHandle& self) { return self.client().reads_directly(); })
        .def("wait_frame", &wait_frame, nb::arg("camera"), nb::arg("after"), nb::arg("timeout"))
        .def("step", &step, nb::arg("values"), nb::arg("n"), nb::arg("d"), nb::arg("times").none())
        .def(
            "apply_action",
            [](const ClientHandle& self, nb::handle values, int n, int d, const Times& times) {
                const Action action = to_action(values, n, d, times);
                self.ask([&](PolicyClient& client) { client.apply_action(action); });
            },
            nb::arg("values"), nb::arg("n"), nb::arg("d"), nb::arg("times").none())
        .def(
            "put_action",
            [](const ClientHandle& self, nb::handle values, int n, int d, const Times& times) {
                return self.client().put_action(to_action(values, n, d, times));
            },
            nb::arg("values"), nb::arg("n"), nb::arg("d"), nb::arg("times").none())
        .def(
            "replace_actions",
            [](const ClientHandle& self, nb::handle values, int n, int d, const Times& times) {
                const Action chunk = to_action(values, n, d, times);
                bool fits = false;
                self.block([&](PolicyClient& client) { fits = client.replace_actions(chunk); });
                return fits;
            },
            nb::arg("values"), nb::arg("n"), nb::arg("d"), nb::arg("times").none())
        .def("clear_actions", [](const ClientHandle& self) { self.client().clear_actions(); })
        .def("start_obs_stream", &start_obs_stream, nb::arg("hz"), nb::arg("request").none())
        .def("stop_obs_stream",
             [](const ClientHandle& self) { self.block([](PolicyClient& client) { client.stop_obs_stream(); }); })
        .def(
            "start_action_dispatch",
            [](const ClientHandle& self, double hz) {
                self.block([&](PolicyClient& client) { client.start_action_dispatch(hz); });
            },
            nb::arg("hz"))
        .def("stop_action_dispatch",
             [](const ClientHandle& self) { self.block([](PolicyClient& client) { client.stop_action_dispatch(); }); })
        .def("latest", &latest, nb::arg("previous").none())
        .def("wait_obs", &wait_obs, nb::arg("previous").none(), nb::arg("timeout"))
        .def_prop_ro("queued_actions", [](const ClientHandle& self) { return self.client().queued_actions(); })
        .def("stats", &stats);
}

}  // namespace chiral::python
