#include "xla/handlers.hpp"

#include <algorithm>
#include <atomic>
#include <deque>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "regard/attention.hpp"
#include "xla/call.hpp"

namespace regard::xla {
namespace {

std::atomic<int> major_followed = 0, minor_followed = 0;

Error* error(const CallFrame& frame, const char* message, int code) {
  ErrorRequest request = {sizeof(ErrorRequest), nullptr, message, code};
  return frame.api->create_error(&request);
}

/// Answers what XLA asks when a handler is registered.
bool is_registration(const CallFrame& frame) {
  if (frame.extensions == nullptr || frame.extensions->type != kMetadataExtension) return false;
  Metadata& about = *reinterpret_cast<MetadataExtension*>(frame.extensions)->metadata;
  about.api_version = {sizeof(Version), nullptr, major_followed, minor_followed};
  about.traits = 0;
  return true;
}

template <class Run>
Error* answer(const CallFrame& frame, const Run& run) {
  if (is_registration(frame)) return nullptr;
  try {
    Call call(frame);
    const Plan plan(call.problem);
    run(call, plan);
    return nullptr;
  } catch (const std::bad_alloc&) {
    return error(frame, "attention: out of memory.", kResourceExhausted);
  } catch (const std::exception& e) {  // ValueError and TypeError among them
    return error(frame, e.what(), kInvalidArgument);
  } catch (...) {
    return error(frame, "attention: unknown error.", kInternal);
  }
}

/// A gradient that the core has in float64, for a result that may be float32.
class Narrowed {
 public:
  explicit Narrowed(const Array& result) : result_(result), array_(result) {
    std::int64_t elements = 1;
    for (const std::int64_t extent : result.dims()) elements *= extent;
    wide_.resize(static_cast<std::size_t>(elements));
    array_.data = wide_.data();
    array_.dtype = DType::float64;
    std::int64_t stride = sizeof(double);
    for (auto axis = static_cast<std::size_t>(result.rank); axis-- > 0;) {
      array_.strides[axis] = stride;
      stride *= result.shape[axis];
    }
  }

  const Array& array() const { return array_; }

  void finish() const {
    if (result_.dtype == DType::float64) {
      std::ranges::copy(wide_, static_cast<double*>(result_.data));
    } else {
      std::ranges::transform(wide_, static_cast<float*>(result_.data),
                             [](double x) { return static_cast<float>(x); });
    }
  }

 private:
  Array result_, array_;
  std::vector<double> wide_;
};

}  // namespace

void follow_version(int major_version, int minor_version) {
  major_followed = major_version;
  minor_followed = minor_version;
}

Error* attention(CallFrame* frame) {
  return answer(*frame, [](const Call& call, const Plan& plan) {
    const Array lse = call.result("lse");
    plan.run(call.result("out"), &lse);
  });
}

Error* backward(CallFrame* frame) {
  return answer(*frame, [](const Call& call, const Plan& plan) {
    Saved saved;
    saved.out = call.operand("out");
    saved.lse = call.operand("lse");
    saved.dout = call.operand("dout");
    if (call.has_operand("dlse")) saved.dlse = call.operand("dlse");
    Gradients wanted;
    const auto want = [&](const char* name, std::optional<Array>& array) {
      if (call.has_result(name)) array = call.result(name);
    };
    want("query", wanted.query);
    want("key", wanted.key);
    want("value", wanted.value);
    want("bias", wanted.bias);
    std::deque<Narrowed> numbers;
    const auto want_numbers = [&](const char* name, std::optional<Array>& array) {
      if (call.has_result(name)) array = numbers.emplace_back(call.result(name)).array();
    };
    want_numbers("sinks", wanted.sinks);
    want_numbers("alibi_slopes", wanted.alibi_slopes);
    want_numbers("query_scale", wanted.query_scale);
    want_numbers("position_bias", wanted.position_bias);
    plan.backward(saved, wanted);
    for (const Narrowed& gradient : numbers) gradient.finish();
  });
}

Error* tangent(CallFrame* frame) {
  return answer(*frame, [](const Call& call, const Plan& plan) {
    Tangents moves;
    const auto move = [&](const char* name, std::optional<Array>& array) {
      if (call.has_operand(name)) array = call.operand(name);
    };
    move("dquery", moves.query);
    move("dkey", moves.key);
    move("dvalue", moves.value);
    TangentOutputs outputs;
    outputs.out = call.result("out");
    outputs.dout = call.result("dout");
    outputs.lse = call.result("lse");
    outputs.dlse = call.result("dlse");
    plan.tangent(moves, outputs);
  });
}

}  // namespace regard::xla
