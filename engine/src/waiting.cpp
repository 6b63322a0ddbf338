// SPDX-License-Identifier: Apache-2.0
// Sleeping until something is published.
#include <chiral/engine.hpp>

#include "engine_state.hpp"

#include <stdexcept>

namespace chiral {

using detail::EngineState;
using detail::kDepth;
using detail::kImage;

namespace {

core::StdAtomics::Deadline on_its_clock(const EngineState& engine, TimePoint deadline) noexcept {
    return {deadline, engine.options.now};
}

void require(const EngineState& engine, Source source) {
    switch (source.kind) {
        case Source::Kind::image:
        case Source::Kind::depth:
            if (source.index < engine.cameras.size()) return;
            throw std::out_of_range(engine.unknown_camera(source.index).message());
        case Source::Kind::proprio:
            if (source.index < engine.proprios.size()) return;
            throw std::out_of_range(engine.unknown_proprio(source.index).message());
        case Source::Kind::slot: break;
    }
    if (source.index >= engine.options.slots.size()) throw std::out_of_range(engine.unknown_slot(source.index).message());
}

// Of a source that is no stream.
std::size_t camera_of(const EngineState& engine, Source source) noexcept {
    return source.kind == Source::Kind::slot ? engine.source_of_slot(source.index) : source.index;
}
int field_of(Source source) noexcept { return source.kind == Source::Kind::depth ? kDepth : kImage; }
core::FieldNews<detail::Policy>& news_of(const EngineState& engine, Source source) noexcept {
    return engine.camera(camera_of(engine, source)).news[static_cast<std::size_t>(field_of(source))];
}

// For who has announced itself at a bell, and for who asks: never behind what a wait has just found.
std::uint64_t look_at(const EngineState& engine, Source source) noexcept {
    if (source.kind == Source::Kind::proprio) return engine.ring(source.index).look();
    return news_of(engine, source).look(engine.camera(camera_of(engine, source)).sync, field_of(source));
}

}  // namespace

std::uint64_t Engine::newest_frame(std::size_t camera) const noexcept {
    return camera < state_->cameras.size() ? look_at(*state_, {Source::Kind::image, camera}) : 0;
}

std::uint64_t Engine::newest(Source source) const {
    require(*state_, source);
    return look_at(*state_, source);
}

bool Engine::wait(Source source, std::uint64_t after, TimePoint deadline) {
    require(*state_, source);
    if (look_at(*state_, source) > after) return true;
    core::Bell<detail::Policy>& bell =
        source.kind == Source::Kind::proprio ? state_->proprio_bell(source.index) : news_of(*state_, source).bell;
    return bell.wait([&] { return look_at(*state_, source) > after; }, on_its_clock(*state_, deadline));
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
    for (const Awaited& each : awaited) require(*state_, each.source);
    std::optional<std::size_t> found;
    static_cast<void>(state_->bell().wait(
        [&] {
            for (std::size_t i = 0; i < awaited.size() && !found; ++i)
                if (look_at(*state_, awaited[i].source) > awaited[i].after) found = i;
            return found.has_value();
        },
        on_its_clock(*state_, deadline)));
    return found;
}

}  // namespace chiral
