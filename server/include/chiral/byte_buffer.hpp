// SPDX-License-Identifier: Apache-2.0
// Pixels that are either owned or borrowed: from a pinned engine slot, or from a received message.
//
// A ByteBuffer stands where the documented API has std::vector<uint8_t>, and converts to and from it. An Observation
// made by PolicyServer::make_obs() borrows: its pixels lie in the slots of the engine, which stay pinned until the
// last buffer that borrows from the snapshot is gone. Nothing waits for that: a kept observation only occupies one
// of the server's readers. One that a PolicyClient has received borrows from the memory of its message, which stays as a whole
// as long as one buffer borrows from it.
//
// Thread rule: like a std::vector. Copying always yields an owned buffer; moving keeps the loan; mutable access to a
// borrowed buffer copies it first.
#pragma once

#include <chiral/api.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <utility>
#include <vector>

namespace chiral {

/// What keeps borrowed memory readable: counts its buffers and is told when the last one is gone.
class CHIRAL_API Loan {
public:
    virtual void add_ref() noexcept = 0;
    virtual void drop_ref() noexcept = 0;

protected:
    ~Loan() = default;
};

class ByteBuffer {
public:
    using value_type = std::uint8_t;
    using const_iterator = const std::uint8_t*;
    using iterator = std::uint8_t*;

    ByteBuffer() = default;
    ByteBuffer(std::vector<std::uint8_t> bytes) : owned_(std::move(bytes)) {}
    ByteBuffer(const ByteBuffer& other) : owned_(other.begin(), other.end()) {}
    ByteBuffer(ByteBuffer&& other) noexcept
        : owned_(std::move(other.owned_)),
          borrowed_(std::exchange(other.borrowed_, nullptr)),
          borrowed_size_(std::exchange(other.borrowed_size_, 0)),
          loan_(std::exchange(other.loan_, nullptr)) {
        other.owned_.clear();
    }
    ByteBuffer& operator=(const ByteBuffer& other) {
        if (this != &other) assign(other.begin(), other.end());
        return *this;
    }
    ByteBuffer& operator=(ByteBuffer&& other) noexcept {
        if (this != &other) {
            give_back();
            owned_.swap(other.owned_);
            other.owned_.clear();
            borrowed_ = std::exchange(other.borrowed_, nullptr);
            borrowed_size_ = std::exchange(other.borrowed_size_, 0);
            loan_ = std::exchange(other.loan_, nullptr);
        }
        return *this;
    }
    ByteBuffer& operator=(std::vector<std::uint8_t> bytes) {
        give_back();
        owned_ = std::move(bytes);
        return *this;
    }
    ~ByteBuffer() { give_back(); }

    /// Points at memory that `loan` keeps readable and unchanged; takes one reference on it. Does not allocate.
    void borrow(const std::uint8_t* data, std::size_t size, Loan& loan) noexcept {
        loan.add_ref();
        give_back();
        owned_.clear();
        borrowed_ = data;
        borrowed_size_ = size;
        loan_ = &loan;
    }
    bool borrowed() const noexcept { return loan_ != nullptr; }

    std::size_t size() const noexcept { return loan_ ? borrowed_size_ : owned_.size(); }
    bool empty() const noexcept { return size() == 0; }
    const std::uint8_t* data() const noexcept { return loan_ ? borrowed_ : owned_.data(); }
    const_iterator begin() const noexcept { return data(); }
    const_iterator end() const noexcept { return data() + size(); }
    std::uint8_t operator[](std::size_t i) const noexcept { return data()[i]; }
    operator std::vector<std::uint8_t>() const { return {begin(), end()}; }

    // Mutable access: a borrowed buffer becomes an owned copy first.
    std::uint8_t* data() { return own().data(); }
    iterator begin() { return data(); }
    iterator end() { return data() + size(); }
    std::uint8_t& operator[](std::size_t i) { return own()[i]; }
    void resize(std::size_t size) { own().resize(size); }
    void clear() {
        give_back();
        owned_.clear();
    }
    template <std::input_iterator Iterator>
    void assign(Iterator first, Iterator last) {
        if (loan_) {
            *this = std::vector<std::uint8_t>(first, last);
        } else {
            owned_.assign(first, last);
        }
    }
    void assign(std::size_t count, std::uint8_t value) {
        clear();
        owned_.assign(count, value);
    }

    /// Becomes an owned buffer of `size` bytes, which `make(bytes, size, to)` makes of those that it has had; they stay readable
    /// for that long. Uses the memory that it had before it borrowed. If `make` throws, it is empty.
    template <class Make>
    void become(std::size_t size, Make make) {
        ByteBuffer before;
        before.owned_.swap(owned_);
        before.borrowed_ = std::exchange(borrowed_, nullptr);
        before.borrowed_size_ = std::exchange(borrowed_size_, 0);
        before.loan_ = std::exchange(loan_, nullptr);
        if (before.loan_) owned_.swap(before.owned_);
        owned_.resize(size);
        try {
            const ByteBuffer& bytes = before;
            make(bytes.data(), bytes.size(), owned_.data());
        } catch (...) {
            owned_.clear();
            throw;
        }
    }

    friend bool operator==(const ByteBuffer& a, const ByteBuffer& b) noexcept {
        return std::equal(a.begin(), a.end(), b.begin(), b.end());
    }

private:
    std::vector<std::uint8_t>& own() {
        if (loan_) {
            owned_.assign(borrowed_, borrowed_ + borrowed_size_);
            give_back();
        }
        return owned_;
    }
    void give_back() noexcept {
        borrowed_ = nullptr;
        borrowed_size_ = 0;
        if (loan_) std::exchange(loan_, nullptr)->drop_ref();
    }

    std::vector<std::uint8_t> owned_;
    const std::uint8_t* borrowed_{nullptr};
    std::size_t borrowed_size_{0};
    Loan* loan_{nullptr};
};

}  // namespace chiral
