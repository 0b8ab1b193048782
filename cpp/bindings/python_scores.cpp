#include "python_scores.hpp"

namespace regard::bindings {

ScoreFunction PythonScores::add(const py::object& function) {
  functions_.push_back({this, function});
  return {nullptr, call_tile, &functions_.back()};
}

PythonScores::Released::Released(PythonScores& of) : call(of) {
  call.interpreter_ = PyThreadState_Get()->interp;
  call.calling_thread_ = std::this_thread::get_id();
  call.caller_ = PyEval_SaveThread();
}
PythonScores::Released::~Released() { PyEval_RestoreThread(call.caller_); }

void PythonScores::call_tile(void* user, const ScoreTile& tile) {
  const Function& f = *static_cast<const Function*>(user);
  PythonScores& call = *f.call;
  if (call.failed_.load(std::memory_order_relaxed)) return;
  // Worker threads are OpenMP's: Python does not know them, nor which interpreter they work for.
  const bool own = std::this_thread::get_id() == call.calling_thread_;
  PyThreadState* state = own ? call.caller_ : PyThreadState_New(call.interpreter_);
  PyEval_RestoreThread(state);  // which may wait while another one fails
  if (!call.failed_.load(std::memory_order_relaxed)) call.call_with_gil(f.function, tile);
  if (!own) PyThreadState_Clear(state);
  own ? static_cast<void>(call.caller_ = PyEval_SaveThread()) : PyThreadState_DeleteCurrent();
}

void PythonScores::call_with_gil(const py::object& function, const ScoreTile& tile) {
  try {
    function.attr("fill")(reinterpret_cast<std::uintptr_t>(tile.scores),
                          reinterpret_cast<std::uintptr_t>(tile.slopes), tile.ld, tile.row,
                          tile.rows, tile.group, tile.first_head, tile.key, tile.count,
                          tile.element);
  } catch (...) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::current_exception();
    failed_.store(true, std::memory_order_relaxed);
  }
}

}  // namespace regard::bindings
