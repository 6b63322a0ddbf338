// SPDX-License-Identifier: Apache-2.0
// Sleeping until something is published.
#include <chiral/engine.hpp>

#include "engine_state.hpp"

#include <stdexcept>

namespace chiral {

using detail::EngineState;
using detail::kImage;

namespace {

using Signal = core::FrameSignal<detail::Policy>;

core::StdAtomics::Deadline on_its_clock(const EngineState& engine, TimePoint deadline) noexcept {
    return {deadline, engine.options.now};
}

Signal& signal_of(const EngineState& engine, Source source) {
    switch (source.kind) {
        case Source::Kind::image:
        case Source::Kind::depth:
            if (source.index >= engine.cameras.size())
                throw std::out_of_range(engine.unknown_camera(source.index).message());
            return engine.camera(source.index).signals[source.kind == Source::Kind::image ? 0 : 1];
        case Source::Kind::proprio:
            if (source.index >= engine.proprios.size())
                throw std::out_of_range(engine.unknown_proprio(source.index).message());
            return engine.proprio_signal(source.index);
        case Source::Kind::slot: break;
    }
    if (source.index >= engine.options.slots.size()) throw std::out_of_range(engine.unknown_slot(source.index).message());
    return engine.camera(engine.source_of_slot(source.index)).signals[kImage];
}

}  // namespace

std::uint64_t Engine::newest_frame(std::size_t camera) const noexcept {
    return camera < state_->cameras.size() ? state_->camera(camera).signals[kImage].newest() : 0;
}

std::uint64_t Engine::newest(Source source) const { return signal_of(*state_, source).newest(); }

bool Engine::wait(Source source, std::uint64_t after, TimePoint deadline) {
    return signal_of(*state_, source).wait(after, on_its_clock(*state_, deadline));
}

bool Engine::wait_frame(std::size_t camera, std::uint64_t after, TimePoint deadline) {
    return wait({Source::Kind::image, camera}, after, deadline);
}

bool Engine::wait_frames(std::span<const std::uint64_t> after, TimePoint deadline) {
    // Before any wait, so that a wrong count is found even where an earlier camera would have timed out.
    if (after.size() > state_->cameras.size()) throw std::out_of_range(state_->unknown_camera(after.size() - 1).message());
    for (std::size_t i = 0; i < after.size(); ++i)
        if (!wait_frame(i, after[i], deadline)) return false;
    return true;
}

std::optional<std::size_t> Engine::wait_any(std::span<const Awaited> awaited, TimePoint deadline) {
    for (const Awaited& each : awaited) static_cast<void>(signal_of(*state_, each.source));
    std::optional<std::size_t> found;
    static_cast<void>(state_->bell().wait(
        [&] {
            for (std::size_t i = 0; i < awaited.size() && !found; ++i)
                if (signal_of(*state_, awaited[i].source).look() > awaited[i].after) found = i;
            return found.has_value();
        },
        on_its_clock(*state_, deadline)));
    return found;
}

}  // namespace chiral
