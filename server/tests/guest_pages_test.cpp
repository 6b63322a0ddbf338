// SPDX-License-Identifier: Apache-2.0
// A client's page that cannot be put to its place: where writers look there is something all the same.
#include "local/guest_pages.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstddef>
#include <memory>
#include <system_error>

#include <sys/mman.h>

namespace {

// What the system does from now on when a page is moved, and how often it has nothing to fill the place with after that.
enum class Move { works, fails, fails_and_leaves_a_hole } move = Move::works;
int fills_that_fail = 0;

}  // namespace

extern "C" {

void* __real_mremap(void* from, std::size_t old_bytes, std::size_t bytes, int flags, ...);
void* __real_mmap(void* place, std::size_t bytes, int protection, int flags, int file, off_t offset);

void* __wrap_mremap(void* from, std::size_t old_bytes, std::size_t bytes, int flags, ...) {
    std::va_list rest;
    va_start(rest, flags);
    void* const place = va_arg(rest, void*);
    va_end(rest);
    if (move == Move::works) return __real_mremap(from, old_bytes, bytes, flags, place);
    if (move == Move::fails_and_leaves_a_hole) munmap(place, bytes);
    errno = ENOMEM;
    return MAP_FAILED;
}

void* __wrap_mmap(void* place, std::size_t bytes, int protection, int flags, int file, off_t offset) {
    if ((flags & MAP_FIXED) == 0 || fills_that_fail == 0) return __real_mmap(place, bytes, protection, flags, file, offset);
    --fills_that_fail;
    errno = ENOMEM;
    return MAP_FAILED;
}

}  // extern "C"

namespace chiral::local {
namespace {

/// Of two seats, with something in the pages of both; a client has been given the first.
class GuestPagesTest : public testing::Test {
protected:
    static constexpr std::size_t kBytes = 64 * 1024;
    static constexpr std::byte kBefore{0xaa}, kNothing{0};

    GuestPagesTest() : places(pages.map(2 * kBytes)) { std::fill_n(places.get(), 2 * kBytes, kBefore); }
    ~GuestPagesTest() override {
        move = Move::works;
        fills_that_fail = 0;
    }
    std::shared_ptr<std::byte> place() const { return pages.place(GuestPages::make(kBytes), 0, kBytes); }
    bool holds(int seat, std::byte value) const {
        const std::byte* const page = places.get() + static_cast<std::size_t>(seat) * kBytes;
        return std::all_of(page, page + kBytes, [=](std::byte each) { return each == value; });
    }

    GuestPages pages;
    std::shared_ptr<std::byte> places;
};

TEST_F(GuestPagesTest, APageTakesItsPlaceEmptyAndStaysWhenItsBellIsGone) {
    place().reset();
    EXPECT_TRUE(holds(0, kNothing));
    EXPECT_TRUE(holds(1, kBefore));
}

TEST_F(GuestPagesTest, APageThatCannotBeMovedLeavesWhatWasThere) {
    move = Move::fails;
    fills_that_fail = 1;  // and is not asked for
    EXPECT_THROW(place(), std::system_error);
    EXPECT_TRUE(holds(0, kBefore));
    EXPECT_EQ(fills_that_fail, 1);
}

TEST_F(GuestPagesTest, APageThatLeavesAHoleIsReplacedByNothingHoweverLongThatTakes) {
    move = Move::fails_and_leaves_a_hole;
    fills_that_fail = 3;
    try {
        place();
        ADD_FAILURE() << "it has been moved";
    } catch (const std::system_error& error) {
        EXPECT_EQ(error.code(), std::errc::not_enough_memory) << "why it could not be moved";
    }
    EXPECT_EQ(fills_that_fail, 0);
    EXPECT_TRUE(holds(0, kNothing));
    EXPECT_TRUE(holds(1, kBefore));
    move = Move::works;
    place();  // the next client's
    EXPECT_TRUE(holds(0, kNothing));
}

}  // namespace
}  // namespace chiral::local
