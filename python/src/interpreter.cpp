// SPDX-License-Identifier: Apache-2.0
#include "interpreter.hpp"

#include <chiral/lookout.hpp>

#include <unistd.h>

#include <array>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

namespace chiral::python {
namespace {

// Never destroyed: threads may outlive main(), and a forked process the mutexes of its parent.
struct Interpreter {
    std::mutex mutex;  // never held while asking for the GIL
    std::condition_variable section_ended;
    std::set<Endable*> endables;
    std::atomic<bool> ending{false};
    std::atomic<int> sections{0};  // that will ask for the GIL, or have done so
    std::atomic<Grave*> buried{nullptr};
    std::atomic<unsigned> fork_generation{0};
};
Interpreter& interpreter() {
    static auto* const instance = new Interpreter;
    return *instance;
}

// seq_cst, also in shut_down(): either the section sees that the interpreter ends, or shut_down() sees the section.
bool begin_section() noexcept {
    interpreter().sections.fetch_add(1);
    if (!interpreter().ending.load()) return true;
    interpreter().sections.fetch_sub(1);
    return false;
}
void end_section() noexcept {
    if (interpreter().sections.fetch_sub(1) > 1 || !interpreter().ending.load()) return;
    const std::lock_guard lock(interpreter().mutex);
    interpreter().section_ended.notify_all();
}

[[noreturn]] void refuse_while_ending() { throw std::runtime_error("chiral: the interpreter is ending"); }

[[noreturn]] void stop_for_ever() {
    for (;;) ::pause();
}

// The exception that is set, as "ValueError: its text", the first line of it only: it becomes a close reason.
std::string exception_line() {
    PyObject *type = nullptr, *value = nullptr, *traceback = nullptr;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    std::string line = type != nullptr ? reinterpret_cast<PyTypeObject*>(type)->tp_name : "unknown exception";
    if (PyObject* text = value != nullptr ? PyObject_Str(value) : nullptr) {
        const char* utf8 = PyUnicode_AsUTF8(text);
        const std::string whole = utf8 != nullptr ? utf8 : "";
        if (!whole.empty()) line += ": " + whole.substr(0, whole.find('\n'));
        Py_DECREF(text);
    }
    PyErr_Clear();
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    return line;
}

// What a signal raised, kept while there is no GIL.
class Raised {
public:
    explicit operator bool() const noexcept { return type_ != nullptr; }
    void fetch() noexcept { PyErr_Fetch(&type_, &value_, &traceback_); }
    [[noreturn]] void raise() {
        PyErr_Restore(std::exchange(type_, nullptr), value_, traceback_);
        throw nb::python_error();
    }

private:
    PyObject *type_{nullptr}, *value_{nullptr}, *traceback_{nullptr};
};

bool on_main_thread() {
    static const unsigned long main = [] {
        nb::object thread = nb::module_::import_("threading").attr("main_thread")();
        return nb::cast<unsigned long>(thread.attr("ident"));
    }();
    return PyThread_get_thread_ident() == main;
}

}  // namespace

GilFree::GilFree() noexcept {
    if (begin_section()) state_ = PyEval_SaveThread();
}

GilFree::~GilFree() {
    if (state_ == nullptr) return;
    PyEval_RestoreThread(state_);
    end_section();
}

void block_without_gil(const std::function<void()>& work, const std::function<void()>& cancel) {
    if (interpreter().ending.load()) refuse_while_ending();
    if (!on_main_thread()) {
        const GilFree free;
        work();
        return;
    }
    // Signals are Python's, and it handles them on this thread, in between.
    struct {
        std::mutex mutex;
        std::condition_variable changed;
        bool done{false};
        std::exception_ptr error;
    } call;
    std::thread worker([&] {
        try {
            work();
        } catch (...) {
            call.error = std::current_exception();
        }
        const std::lock_guard lock(call.mutex);
        call.done = true;
        call.changed.notify_one();
    });
    Raised raised;
    for (bool done = false; !done;) {
        {
            const GilFree free;
            std::unique_lock lock(call.mutex);
            done = call.changed.wait_for(lock, Lookout::period, [&] { return call.done; });
        }
        if (done || PyErr_CheckSignals() == 0) continue;
        raised.fetch();
        const GilFree free;
        cancel();
        std::unique_lock lock(call.mutex);
        call.changed.wait(lock, [&] { return call.done; });
        done = true;
    }
    worker.join();
    if (raised) raised.raise();
    if (call.error) std::rethrow_exception(call.error);
}

void ask_without_gil(const std::function<void()>& work, const std::function<void()>& cancel) {
    if (interpreter().ending.load()) refuse_while_ending();
    if (!on_main_thread()) {
        const GilFree free;
        work();
        return;
    }
    struct Interrupted {};
    Raised raised;
    try {
        GilFree free;
        const Lookout lookout([&] {
            free.interrupt_for([&] {
                if (PyErr_CheckSignals() != 0) raised.fetch();
            });
            if (raised) throw Interrupted{};
        });
        work();
    } catch (const Interrupted&) {
        {
            const GilFree free;
            cancel();
        }
        raised.raise();
    }
}

unsigned fork_generation() noexcept { return interpreter().fork_generation.load(); }

Endable::Endable() : fork_generation_(fork_generation()) {
    const std::lock_guard lock(interpreter().mutex);
    interpreter().endables.insert(this);
}

void Endable::retire() noexcept {
    const std::lock_guard lock(interpreter().mutex);
    interpreter().endables.erase(this);
}

bool Endable::own_process() const noexcept { return fork_generation_ == fork_generation(); }

void Endable::require_own_process(const char* what) const {
    if (!own_process())
        throw std::runtime_error(std::string(what) +
                                 " belongs to the process that this one was forked from; make one after the fork");
}

void with_gil(const std::function<void()>& work) {
    if (!begin_section()) refuse_while_ending();
    struct Section {
        ~Section() { end_section(); }
    } section;
    PyGILState_STATE state{};
    try {
        state = PyGILState_Ensure();
    } catch (...) {  // Python throws nothing: it is the end of this thread
        stop_for_ever();
    }
    struct Gil {
        PyGILState_STATE state;
        ~Gil() { PyGILState_Release(state); }
    } gil{state};
    drop_buried();
    try {
        work();
    } catch (nb::python_error& error) {
        error.restore();
        throw std::runtime_error(exception_line());
    }
}

nb::object call_python(nb::handle object, const char* name, std::initializer_list<nb::handle> arguments) {
    nb::object method = nb::getattr(object, name);
    std::array<PyObject*, 8> pointers{};
    std::size_t count = 0;
    for (const nb::handle argument : arguments) pointers.at(count++) = argument.ptr();
    PyObject* result = nullptr;
    try {
        result = PyObject_Vectorcall(method.ptr(), pointers.data(), count, nullptr);
    } catch (...) {  // likewise
        stop_for_ever();
    }
    if (result == nullptr) throw std::runtime_error(exception_line());
    return nb::steal(result);
}

void in_background(std::function<void()> work) {
    if (!begin_section()) return;  // as the process ends, so does what it would have tidied
    std::thread([work = std::move(work)]() mutable {
        work();
        work = {};
        end_section();
    }).detach();
}

void bury(Grave& grave) noexcept {
    // release pairs with the acquire in drop_buried(): what was done with the object comes before its end.
    grave.next = interpreter().buried.load(std::memory_order_relaxed);
    while (!interpreter().buried.compare_exchange_weak(grave.next, &grave, std::memory_order_release,
                                                       std::memory_order_relaxed)) {}
}

void drop_buried() noexcept {
    if (interpreter().buried.load(std::memory_order_relaxed) == nullptr) return;
    Grave* grave = interpreter().buried.exchange(nullptr, std::memory_order_acquire);
    while (grave != nullptr) {
        Grave* const next = grave->next;
        Py_XDECREF(grave->object);
        grave->free(grave);
        grave = next;
    }
}

namespace {

// Called with the mutex held.
void end_each() noexcept {
    for (Endable* endable : interpreter().endables)
        if (endable->own_process()) endable->end();
}

// Ends everything, and waits while hooks run: those of a client that was in control are what stops its robot. False: some still do.
bool end_all(std::chrono::seconds patience) {
    struct Awaited {
        std::mutex mutex;
        std::condition_variable changed;
        int hooks{0};
    };
    const auto awaited = std::make_shared<Awaited>();  // a hook may outlast our patience
    std::vector<std::function<void()>> waits;
    {
        const std::lock_guard lock(interpreter().mutex);
        end_each();
        for (Endable* endable : interpreter().endables)
            if (endable->own_process()) waits.push_back(endable->last_hooks());
    }
    std::unique_lock lock(awaited->mutex);
    for (std::function<void()>& wait : waits) {
        if (!wait) continue;
        std::thread([awaited, wait = std::move(wait)] {
            wait();
            const std::lock_guard over(awaited->mutex);
            --awaited->hooks;
            awaited->changed.notify_all();
        }).detach();
        ++awaited->hooks;
    }
    return awaited->changed.wait_for(lock, patience, [&] { return awaited->hooks == 0; });
}

}  // namespace

void shut_down() {
    Interpreter& all = interpreter();
    std::chrono::seconds patience{5};
    PyThreadState* const state = PyEval_SaveThread();
    try {
        if (!end_all(patience))
            patience = std::chrono::seconds(1);  // a hook that goes on has the interpreter: for the others
    } catch (const std::exception&) {            // no thread, or no memory: nothing is waited for
    }
    all.ending.store(true);
    {
        std::unique_lock lock(all.mutex);
        end_each();  // what has begun meanwhile
        all.section_ended.wait_for(lock, patience, [&] { return all.sections.load() == 0; });
    }
    PyEval_RestoreThread(state);
    drop_buried();
}

void after_fork_in_child() noexcept {
    Interpreter& all = interpreter();
    new (&all.mutex) std::mutex;  // a thread that no longer is may have held it
    new (&all.section_ended) std::condition_variable;
    all.sections.store(0);
    all.buried.store(nullptr);  // they reach into the parent's slots
    all.fork_generation.fetch_add(1);
}

}  // namespace chiral::python
