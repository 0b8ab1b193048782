// Functions of scores that are Python's: called for a tile at a time, with the GIL.
#pragma once

#include <pybind11/pybind11.h>

#include <atomic>
#include <exception>
#include <list>
#include <mutex>
#include <thread>

#include "regard/attention.hpp"

namespace regard::bindings {

namespace py = pybind11;

/// The functions of one call, and the first exception that one of them raised.
class PythonScores {
 public:
  PythonScores() = default;
  PythonScores(const PythonScores&) = delete;
  PythonScores& operator=(const PythonScores&) = delete;

  /// `function` is a regard._call.functions.TileFunction; it lives as long as this.
  ScoreFunction add(const py::object& function);
  bool empty() const { return functions_.empty(); }

  /// Runs body() without the GIL, which functions take back while they are called, on whatever
  /// thread. Raises what a function raised; none is called once that is known.
  template <class Body>
  void without_gil(const Body& body) {
    {
      const Released released(*this);
      body();
    }
    if (error_) std::rethrow_exception(error_);
  }

 private:
  struct Function {
    PythonScores* call;
    py::object function;
  };

  /// The calling thread without the GIL.
  struct Released {
    explicit Released(PythonScores& of);
    ~Released();
    PythonScores& call;
  };

  void call_with_gil(const py::object& function, const ScoreTile& tile);
  static void call_tile(void* user, const ScoreTile& tile);

  std::list<Function> functions_;
  PyInterpreterState* interpreter_ = nullptr;
  PyThreadState* caller_ = nullptr;  ///< of the calling thread, while it has no GIL
  std::thread::id calling_thread_;
  std::atomic<bool> failed_ = false;
  std::mutex mutex_;
  std::exception_ptr error_;
};

}  // namespace regard::bindings
