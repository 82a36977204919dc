#include "server/validate.h"

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>

#include "host/resource_table.h"

namespace loader::server {
namespace {

using google::protobuf::ListValue;
using google::protobuf::Struct;
using google::protobuf::Value;

constexpr std::array<std::string_view, 8> kItemTypes = {"",      "bytes", "text",  "json",
                                                        "audio", "image", "video", "tensor"};
constexpr std::array<std::string_view, 14> kDataTypes = {
    "",      "bool",  "uint8", "uint16", "uint32", "uint64", "int8",
    "int16", "int32", "int64", "fp16",   "fp32",   "fp64",   "bf16"};

template <size_t N>
uint32_t number_of(const std::array<std::string_view, N>& names, std::string_view name,
                   const std::string& where) {
  for (uint32_t i = 0; i < N; i++) {
    if (names[i] == name) return i;
  }
  throw std::invalid_argument("declaration: " + where + " is \"" + std::string(name) +
                              "\", which is not a known type");
}

template <size_t N>
std::string name_of(const std::array<std::string_view, N>& names, uint32_t number) {
  if (number > 0 && number < N) return std::string(names[number]);
  return std::to_string(number);
}

const Value* member(const Struct& object, const char* name) {
  auto found = object.fields().find(name);
  return found == object.fields().end() ? nullptr : &found->second;
}

std::string text_of(const Struct& object, const char* name) {
  const Value* value = member(object, name);
  return value != nullptr && value->has_string_value() ? value->string_value() : std::string();
}

bool flag_of(const Struct& object, const char* name, bool otherwise) {
  const Value* value = member(object, name);
  return value != nullptr && value->has_bool_value() ? value->bool_value() : otherwise;
}

std::string json_of(const Value& value) {
  std::string out;
  if (!google::protobuf::util::MessageToJsonString(value, &out).ok()) return "null";
  return out;
}

bool parse_json(std::string_view text, Value& out) {
  return google::protobuf::util::JsonStringToMessage(
             google::protobuf::StringPiece(text.data(), text.size()), &out)
      .ok();
}

// The parameter's JSON as a value. Plain numbers and booleans, the usual case, skip the JSON
// parser.
bool parse_parameter(std::string_view text, Value& out) {
  if (text == "true" || text == "false") {
    out.set_bool_value(text == "true");
    return true;
  }
  return !text.empty() && parse_json(text, out);
}

const ListValue* list_of(const Struct& object, const char* name) {
  const Value* value = member(object, name);
  if (value == nullptr || value->kind_case() == Value::kNullValue) return nullptr;
  if (!value->has_list_value()) {
    throw std::invalid_argument(std::string("declaration: \"") + name + "\" is not a list");
  }
  return &value->list_value();
}

Schema::Input parse_input(const Struct& entry) {
  Schema::Input input;
  input.key = text_of(entry, "key");
  if (input.key.empty()) input.key = text_of(entry, "name");
  if (input.key.empty()) throw std::invalid_argument("declaration: an input has no \"key\"");
  std::string where = "inputs." + input.key;
  input.type = number_of(kItemTypes, text_of(entry, "type"), where + ".type");
  input.data_type = number_of(kDataTypes, text_of(entry, "data_type"), where + ".data_type");
  input.is_required = flag_of(entry, "required", true);
  if (const ListValue* shape = list_of(entry, "shape")) {
    input.shape.emplace();
    for (const Value& extent : shape->values()) {
      input.shape->push_back(static_cast<int64_t>(extent.number_value()));
    }
  }
  const Value* attributes = member(entry, "attributes");
  if (attributes != nullptr && attributes->has_struct_value()) {
    for (const auto& [key, value] : attributes->struct_value().fields()) {
      input.attributes.emplace_back(key, value.string_value());
    }
  }
  return input;
}

Schema::Kind kind_of(const std::string& type, const std::string& where) {
  using Kind = Schema::Kind;
  if (type.empty()) return Kind::kAny;
  if (type == "integer") return Kind::kInteger;
  if (type == "number") return Kind::kNumber;
  if (type == "string") return Kind::kString;
  if (type == "boolean") return Kind::kBoolean;
  throw std::invalid_argument("declaration: " + where + ".type is \"" + type +
                              "\"; known are integer, number, string, boolean");
}

Schema::ParameterRule parse_rule(const Struct& entry) {
  Schema::ParameterRule rule;
  rule.name = text_of(entry, "name");
  if (rule.name.empty()) throw std::invalid_argument("declaration: a parameter has no \"name\"");
  rule.kind = kind_of(text_of(entry, "type"), "parameters." + rule.name);
  if (const Value* v = member(entry, "minimum"); v != nullptr && v->has_number_value()) {
    rule.minimum = v->number_value();
  }
  if (const Value* v = member(entry, "maximum"); v != nullptr && v->has_number_value()) {
    rule.maximum = v->number_value();
  }
  if (const Value* v = member(entry, "default"); v != nullptr && !v->has_null_value()) {
    rule.default_json = json_of(*v);
  }
  if (const ListValue* choices = list_of(entry, "enum")) {
    for (const Value& choice : choices->values()) rule.choices.push_back(json_of(choice));
  }
  rule.is_required = flag_of(entry, "required", false);
  return rule;
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

const char* kind_name(Schema::Kind kind) {
  switch (kind) {
    case Schema::Kind::kInteger:
      return "an integer";
    case Schema::Kind::kNumber:
      return "a number";
    case Schema::Kind::kString:
      return "a string in JSON quotes";
    case Schema::Kind::kBoolean:
      return "true or false";
    case Schema::Kind::kAny:
      break;
  }
  return "a JSON value";
}

bool is_kind(const Value& value, Schema::Kind kind) {
  switch (kind) {
    case Schema::Kind::kInteger:
      return value.has_number_value() && std::trunc(value.number_value()) == value.number_value();
    case Schema::Kind::kNumber:
      return value.has_number_value();
    case Schema::Kind::kString:
      return value.has_string_value();
    case Schema::Kind::kBoolean:
      return value.has_bool_value();
    case Schema::Kind::kAny:
      break;
  }
  return true;
}

std::string shortened(std::string_view text) {
  if (text.size() <= 80) return std::string(text);
  return std::string(text.substr(0, 77)) + "...";
}

std::string number_text(double number) {
  Value value;
  value.set_number_value(number);
  return json_of(value);
}

std::optional<std::string> check_range(const Schema::ParameterRule& rule, const Value& value) {
  if (!value.has_number_value()) return std::nullopt;
  double number = value.number_value();
  if (rule.minimum && number < *rule.minimum) {
    return "parameter \"" + rule.name + "\" is " + number_text(number) +
           ", below the declared minimum " + number_text(*rule.minimum);
  }
  if (rule.maximum && number > *rule.maximum) {
    return "parameter \"" + rule.name + "\" is " + number_text(number) +
           ", above the declared maximum " + number_text(*rule.maximum);
  }
  return std::nullopt;
}

std::optional<std::string> check_value(const Schema::ParameterRule& rule, std::string_view text) {
  Value value;
  if (!parse_parameter(text, value) || !is_kind(value, rule.kind)) {
    return "parameter \"" + rule.name + "\" is `" + shortened(text) + "`; the engine declares " +
           kind_name(rule.kind);
  }
  if (auto wrong = check_range(rule, value)) return wrong;
  if (rule.choices.empty()) return std::nullopt;
  std::string canonical = json_of(value);
  if (std::find(rule.choices.begin(), rule.choices.end(), canonical) != rule.choices.end()) {
    return std::nullopt;
  }
  return "parameter \"" + rule.name + "\" is `" + shortened(text) + "`; choose one of " +
         joined(rule.choices);
}

std::string shape_text(std::span<const int64_t> shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); i++) {
    out += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  }
  return out + "]";
}

bool fits(std::span<const int64_t> declared, std::span<const int64_t> given) {
  if (declared.size() != given.size()) return false;
  for (size_t i = 0; i < declared.size(); i++) {
    if (declared[i] >= 0 && declared[i] != given[i]) return false;
  }
  return true;
}

}  // namespace

std::shared_ptr<const Schema> Schema::parse(const std::string& declaration_json) {
  auto schema = std::make_shared<Schema>();
  if (declaration_json.empty()) return schema;
  Struct root;
  auto parsed = google::protobuf::util::JsonStringToMessage(declaration_json, &root);
  if (!parsed.ok()) {
    throw std::invalid_argument("declaration is not a JSON object: " + parsed.ToString());
  }
  if (const ListValue* inputs = list_of(root, "inputs")) {
    for (const Value& v : inputs->values())
      schema->inputs_.push_back(parse_input(v.struct_value()));
  }
  if (const ListValue* rules = list_of(root, "parameters")) {
    for (const Value& v : rules->values()) {
      schema->parameters_.push_back(parse_rule(v.struct_value()));
    }
  }
  if (const Value* v = member(root, "properties"); v != nullptr && v->has_struct_value()) {
    const Struct& properties = v->struct_value();
    schema->is_non_blocking_ = flag_of(properties, "non_blocking", false);
    schema->is_slots_fixed_ = flag_of(properties, "slots_fixed", false);
    schema->has_exec_ = flag_of(properties, "has_exec", true);
    schema->has_sessions_ = flag_of(properties, "has_sessions", true);
  }
  return schema;
}

std::optional<std::string> Schema::check_parameters(std::vector<Parameter>& parameters,
                                                    bool takes_resources) const {
  if (parameters_.empty()) return std::nullopt;
  for (const Parameter& given : parameters) {
    auto rule = std::find_if(parameters_.begin(), parameters_.end(),
                             [&](const ParameterRule& r) { return r.name == given.first; });
    if (rule == parameters_.end()) {
      if (takes_resources && given.first == host::kResourceIds) continue;
      std::vector<std::string> known;
      for (const ParameterRule& r : parameters_) known.push_back(r.name);
      return "parameter \"" + shortened(given.first) + "\" is not declared; the engine knows " +
             joined(known);
    }
    if (auto wrong = check_value(*rule, given.second)) return wrong;
  }
  for (const ParameterRule& rule : parameters_) {
    bool is_given = std::any_of(parameters.begin(), parameters.end(),
                                [&](const Parameter& p) { return p.first == rule.name; });
    if (is_given) continue;
    if (!rule.default_json.empty()) {
      parameters.emplace_back(rule.name, rule.default_json);
    } else if (rule.is_required) {
      return "parameter \"" + rule.name + "\" is missing; it has no default";
    }
  }
  return std::nullopt;
}

namespace {

std::optional<std::string> check_tensor(const Schema::Input& input, const frame::FrameView& frame,
                                        const frame::ItemView& item) {
  if (input.data_type != 0 && item.data_type != input.data_type) {
    return "input \"" + input.key + "\" has data_type " + name_of(kDataTypes, item.data_type) +
           "; the engine declares " + name_of(kDataTypes, input.data_type);
  }
  if (input.shape && !fits(*input.shape, frame.shape(item))) {
    return "input \"" + input.key + "\" has shape " + shape_text(frame.shape(item)) +
           "; the engine declares " + shape_text(*input.shape);
  }
  return std::nullopt;
}

std::optional<std::string> check_attributes(const Schema::Input& input,
                                            const frame::FrameView& frame,
                                            const frame::ItemView& item) {
  for (const auto& [key, expected] : input.attributes) {
    for (const frame::AttributeView& given : frame.attributes_of(item)) {
      if (given.key == key && given.value != expected) {
        return "input \"" + input.key + "\" has " + key + " `" + shortened(given.value) +
               "`; the engine declares `" + expected + "`";
      }
    }
  }
  return std::nullopt;
}

std::optional<std::string> check_item(const Schema::Input& input, const frame::FrameView& frame,
                                      const frame::ItemView& item) {
  constexpr uint32_t kBytes = 1, kTensor = 7;
  uint32_t type = item.type == 0 ? kBytes : item.type;
  // Untyped bytes are taken for any declared type but a tensor: what a client of few words sends.
  bool is_untyped = item.type == 0 && input.type != kTensor;
  if (input.type != 0 && type != input.type && !is_untyped) {
    return "input \"" + input.key + "\" is " + name_of(kItemTypes, type) +
           "; the engine declares " + name_of(kItemTypes, input.type);
  }
  if (input.type == kTensor) {
    if (auto wrong = check_tensor(input, frame, item)) return wrong;
  }
  return check_attributes(input, frame, item);
}

constexpr int64_t kElementBytes[] = {0, 1, 1, 2, 4, 8, 1, 2, 4, 8, 2, 4, 8, 2};

// What the protocol asks of every item, declared or not.
std::optional<std::string> check_form(const frame::ItemView& item) {
  constexpr uint32_t kText = 2, kJson = 3;
  if (item.key.empty()) return "an item has no key; give it the name of an input";
  if (item.type != kText && item.type != kJson) return std::nullopt;
  if (frame::is_utf8({reinterpret_cast<const char*>(item.data.data()), item.data.size()})) {
    return std::nullopt;
  }
  return "item \"" + shortened(item.key) + "\" is " + name_of(kItemTypes, item.type) +
         " but not UTF-8; encode it, or send it as bytes";
}

}  // namespace

std::optional<std::string> check_tensor_size(const frame::FrameView& frame,
                                             const frame::ItemView& item) {
  constexpr uint32_t kTensor = 7;
  if (item.type != kTensor || item.payload != 0) return std::nullopt;
  if (item.data_type == 0 || item.data_type >= std::size(kElementBytes)) {
    return "tensor \"" + std::string(item.key) + "\" has no data_type";
  }
  uint64_t expected = static_cast<uint64_t>(kElementBytes[item.data_type]);
  bool is_too_large = false;
  bool is_empty = false;
  for (int64_t extent : frame.shape(item)) {
    if (extent < 0) {
      return "tensor \"" + std::string(item.key) + "\" has the negative extent " +
             std::to_string(extent);
    }
    is_empty |= extent == 0;
    is_too_large |= __builtin_mul_overflow(expected, static_cast<uint64_t>(extent), &expected);
  }
  if (is_empty ? item.data.empty() : !is_too_large && expected == item.data.size()) {
    return std::nullopt;
  }
  return "tensor \"" + std::string(item.key) + "\" of shape " + shape_text(frame.shape(item)) +
         " and type " + name_of(kDataTypes, item.data_type) + " does not have " +
         std::to_string(item.data.size()) + " bytes";
}

std::optional<std::string> Schema::check_frame(const frame::FrameView& frame, bool is_whole) const {
  for (const frame::ItemView& item : frame.items) {
    if (auto wrong = check_form(item)) return wrong;
    if (auto wrong = check_tensor_size(frame, item)) return wrong;
  }
  return inputs_.empty() ? std::nullopt : check_inputs(frame, is_whole);
}

std::optional<std::string> Schema::check_inputs(const frame::FrameView& frame,
                                                bool is_whole) const {
  for (const frame::ItemView& item : frame.items) {
    const Input* declared = input(item.key);
    if (declared == nullptr) {
      std::vector<std::string> known;
      for (const Input& one : inputs_) known.push_back(one.key);
      return "input \"" + shortened(item.key) + "\" is not declared; the engine takes " +
             joined(known);
    }
    if (auto wrong = check_item(*declared, frame, item)) return wrong;
  }
  if (!is_whole) return std::nullopt;
  for (const Input& input : inputs_) {
    bool is_given = !input.is_required ||
                    std::any_of(frame.items.begin(), frame.items.end(),
                                [&](const frame::ItemView& i) { return i.key == input.key; });
    if (!is_given) return "input \"" + input.key + "\" is missing";
  }
  return std::nullopt;
}

// ---- other protocols

const Schema::Input* Schema::input(std::string_view key) const {
  auto found = std::find_if(inputs_.begin(), inputs_.end(),
                            [&](const Input& one) { return one.key == key; });
  return found == inputs_.end() ? nullptr : &*found;
}

const Schema::ParameterRule* Schema::rule(std::string_view name) const {
  auto found = std::find_if(parameters_.begin(), parameters_.end(),
                            [&](const ParameterRule& one) { return one.name == name; });
  return found == parameters_.end() ? nullptr : &*found;
}

bool Schema::takes_parameter(std::string_view name) const {
  return parameters_.empty() || rule(name) != nullptr;
}

bool Schema::takes_plain(std::string_view name, std::string_view text) const {
  const ParameterRule* declared = rule(name);
  if (declared == nullptr || declared->kind == Kind::kAny || declared->kind == Kind::kString) {
    return false;
  }
  Value value;
  return parse_parameter(text, value) && is_kind(value, declared->kind);
}

void Schema::adapt(frame::ItemView& item) const {
  constexpr uint32_t kUntyped = 0, kBytes = 1, kText = 2, kJson = 3;
  const Input* declared = inputs_.empty() ? nullptr : input(item.key);
  if (declared == nullptr || declared->type == item.type) return;
  if (item.type == kText && declared->type == kJson) item.type = kJson;
  if (item.type == kBytes) item.type = kUntyped;
}

}  // namespace loader::server
