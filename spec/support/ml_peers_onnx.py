"""Trains models of scikit-learn, XGBoost and LightGBM on flows, makes ONNX of them, and asks both.

    ml_peers_onnx.py FOLDER MAKER

FOLDER/flows.csv has the flows, as nfengine writes them with statistics and applications. For each model MAKER writes to
FOLDER NAME.onnx, the rows it is asked about, NAME.onnx.rows.csv, the answers of onnxruntime, NAME.onnx.answers.csv, and
of the library that has trained it, NAME.onnx.trained.csv, where there is one: with all digits and without a header. A
line on standard output names the file and how far the two answers are from one another, relatively for answers above 1:
-1 where there is but one.

A maker is a function from the flows (a pandas.DataFrame) to any number of (name, ONNX, rows, answers of the library or
None). Rows are in single precision: what is asked is the same for all.
"""

import os
import sys
import warnings

import numpy
import onnx
import onnxmltools
import onnxruntime
import pandas
from onnx import TensorProto, helper
from onnxmltools.convert.common.data_types import FloatTensorType
from skl2onnx import to_onnx
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier, ExtraTreesRegressor, GradientBoostingClassifier, GradientBoostingRegressor,
    HistGradientBoostingClassifier, HistGradientBoostingRegressor, RandomForestClassifier, RandomForestRegressor,
)
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    GammaRegressor, LinearRegression, LogisticRegression, Perceptron, PoissonRegressor, Ridge, RidgeClassifier,
    SGDClassifier, SGDRegressor, TweedieRegressor,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

SEED = 7

# Numbers that are no addresses, times of day or numbers of the record.
FEATURES = [
    "src_port", "dst_port", "protocol", "bidirectional_packets", "bidirectional_bytes", "bidirectional_duration_ms",
    "src2dst_packets", "src2dst_bytes", "dst2src_packets", "dst2src_bytes", "bidirectional_min_ps",
    "bidirectional_mean_ps", "bidirectional_stddev_ps", "bidirectional_max_ps", "bidirectional_mean_piat_ms",
    "bidirectional_stddev_piat_ms", "bidirectional_syn_packets", "bidirectional_ack_packets",
]


# ---- what is learned ----


def numbers_of(flows):
    return flows[FEATURES].to_numpy("float32")


def with_holes(table):
    """The same with a tenth of the values absent."""
    table = table.copy()
    table[numpy.random.default_rng(SEED).random(table.shape) < 0.1] = numpy.nan
    return table


def is_tls(flows):
    return flows.application_name.str.startswith("TLS").to_numpy("int64")


def category(flows):
    """One of the four most frequent categories of applications, or Other."""
    frequent = flows.application_category_name.value_counts().index[:4]
    return flows.application_category_name.where(flows.application_category_name.isin(frequent), "Other").to_numpy(str)


def size(flows):
    return numpy.log1p(flows.bidirectional_bytes.to_numpy("float64"))


# ---- scikit-learn ----


def take_integers_of_numpy():
    """skl2onnx hands numbers of NumPy and truth values to onnx, which some of its versions do not take for numbers."""
    make_attribute = helper.make_attribute

    def plain(each):
        each = each.item() if isinstance(each, numpy.generic) else each
        return int(each) if isinstance(each, bool) else each

    def with_plain_numbers(key, value, *rest, **named):
        if isinstance(value, (list, tuple, numpy.ndarray)):
            value = [plain(each) for each in value]
        return make_attribute(key, value, *rest, **named)

    helper.make_attribute = with_plain_numbers


def answers_of(model, rows):
    for name in "predict_proba", "decision_function", "predict":
        if hasattr(model, name):
            return numpy.asarray(getattr(model, name)(rows), "float64").reshape(len(rows), -1)


def trained(name, model, x, y, **conversion):
    model.fit(x, y)
    return name, to_onnx(model, x[:1], **conversion), x, answers_of(model, x)


def linear_models(x, y, text, code, number):
    """With weights that are held small: of large ones that cancel, onnxruntime's single precision loses digits."""
    many_steps, seed, small = {"max_iter": 2000}, {"random_state": SEED}, {"alpha": 0.01}
    yield trained("logistic_two", make_pipeline(StandardScaler(), LogisticRegression(**many_steps)), x, y)
    yield trained("logistic_many", make_pipeline(StandardScaler(), LogisticRegression(**many_steps)), x, text)
    each = OneVsRestClassifier(LogisticRegression(**many_steps))
    yield trained("logistic_each", make_pipeline(StandardScaler(), each), x, code)
    yield trained("logistic_each_two", make_pipeline(StandardScaler(), each), x, y)
    positive = 1 + number - number.min()
    yield trained("poisson", make_pipeline(MinMaxScaler(), PoissonRegressor()), x, positive)
    yield trained("gamma", make_pipeline(MinMaxScaler(), GammaRegressor()), x, positive)
    yield trained("tweedie", make_pipeline(MinMaxScaler(), TweedieRegressor(power=1.5)), x, positive)
    yield trained("linear", make_pipeline(StandardScaler(), LinearRegression()), x, number)
    numbers = numpy.column_stack([number, x[:, 3]])
    yield trained("linear_numbers", make_pipeline(StandardScaler(), LinearRegression()), x, numbers)
    yield trained("ridge", make_pipeline(SimpleImputer(), RobustScaler(), Ridge()), with_holes(x), number)
    yield trained("ridge_two", make_pipeline(StandardScaler(), RidgeClassifier()), x, y)
    yield trained("ridge_many", make_pipeline(StandardScaler(), RidgeClassifier()), x, code)
    yield trained("sgd_two", make_pipeline(StandardScaler(), SGDClassifier(**seed, **small)), x, y)
    yield trained("sgd_many", make_pipeline(StandardScaler(), SGDClassifier(**seed, **small)), x, text)
    yield trained("sgd_log_two", make_pipeline(MinMaxScaler(), SGDClassifier(loss="log_loss", **seed)), x, y)
    yield trained("sgd_log_many", make_pipeline(MinMaxScaler(), SGDClassifier(loss="log_loss", **seed)), x, text)
    yield trained("sgd_number", make_pipeline(StandardScaler(), SGDRegressor(**seed)), x, number)
    yield trained("perceptron", make_pipeline(MaxAbsScaler(), Perceptron(penalty="l2", **seed, **small)), x, text)
    plain = {"options": {LinearSVC: {}}}
    yield trained("svc_two", make_pipeline(StandardScaler(), LinearSVC(C=0.01, **seed)), x, y, **plain)
    yield trained("svc_many", make_pipeline(StandardScaler(), LinearSVC(C=0.01, **seed)), x, code, **plain)


def sklearn_models(flows):
    x, y, text, number = numbers_of(flows), is_tls(flows), category(flows), size(flows)
    holes, seed = with_holes(x), {"random_state": SEED}
    code = numpy.unique(text, return_inverse=True)[1]
    forest, array = {"n_estimators": 30, "max_depth": 8, **seed}, {"options": {"zipmap": False}}
    yield trained("forest_two", RandomForestClassifier(**forest), x, y)
    yield trained("forest_many", RandomForestClassifier(**forest), x, text)
    each = OneVsRestClassifier(RandomForestClassifier(n_estimators=5, max_depth=6, **seed))
    yield trained("forest_each", each, x, code)
    yield trained("forest_array", RandomForestClassifier(**forest), x, code, **array)
    yield trained("forest_number", RandomForestRegressor(**forest), x, number)
    yield trained("extra_two", ExtraTreesClassifier(**forest), x, y)
    yield trained("extra_many", ExtraTreesClassifier(**forest), x, text)
    yield trained("extra_number", ExtraTreesRegressor(**forest), x, number)
    yield trained("tree_two", DecisionTreeClassifier(**seed), x, y)
    yield trained("tree_many", DecisionTreeClassifier(**seed), x, text)
    yield trained("tree_number", DecisionTreeRegressor(max_depth=9, **seed), x, number)
    two_numbers = numpy.column_stack([number, numpy.log1p(x[:, 3])])
    yield trained("tree_numbers", DecisionTreeRegressor(max_depth=9, **seed), x, two_numbers)
    boosting = {"n_estimators": 30, **seed}
    yield trained("boosting_two", GradientBoostingClassifier(**boosting), x, y)
    yield trained("boosting_many", GradientBoostingClassifier(**boosting), x, text)
    yield trained("boosting_number", GradientBoostingRegressor(**boosting), x, number)
    yield trained("hist_two", HistGradientBoostingClassifier(max_iter=30, **seed), holes, y)
    yield trained("hist_many", HistGradientBoostingClassifier(max_iter=30, **seed), holes, text)
    yield trained("hist_number", HistGradientBoostingRegressor(max_iter=30, **seed), holes, number)
    yield from linear_models(numpy.log1p(x), y, text, code, number)
    median = SimpleImputer(strategy="median")
    yield trained("imputed", make_pipeline(median, RandomForestClassifier(**forest)), holes, text)
    yield trained("min_max", make_pipeline(MinMaxScaler(), RandomForestClassifier(**forest)), x, text)
    yield trained("scaled", make_pipeline(StandardScaler(), GradientBoostingRegressor(**boosting)), x, number)
    yield trained("chosen", make_pipeline(SelectKBest(k=6), RandomForestClassifier(**forest)), x, text)
    yield trained("double_two", RandomForestClassifier(**forest), x.astype("float64"), y, **array)
    double_logistic = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    yield trained("double_logistic", double_logistic, x.astype("float64"), y, **array)
    yield trained("double_linear", make_pipeline(StandardScaler(), LinearRegression()), x.astype("float64"), number)
    table = pandas.DataFrame(x, columns=FEATURES).astype({name: "int64" for name in FEATURES[:11]})
    ratios = ["bidirectional_mean_ps", "bidirectional_stddev_ps"]
    some = ColumnTransformer([("scaled", StandardScaler(), ratios), ("same", "passthrough", ["bidirectional_max_ps"])])
    yield trained("columns", make_pipeline(some, LogisticRegression(max_iter=2000)), table, y)


# ---- XGBoost and LightGBM, by onnxmltools ----


def booster_models(flows):
    import lightgbm
    import xgboost

    x, y, number = numbers_of(flows), is_tls(flows), size(flows)
    holes, code = with_holes(x), numpy.unique(category(flows), return_inverse=True)[1]
    kind = {"initial_types": [("X", FloatTensorType([None, x.shape[1]]))]}
    few = {"n_estimators": 30, "max_depth": 5, "n_jobs": 1, "random_state": SEED}
    for name, model, target in (
        ("xgboost_two", xgboost.XGBClassifier(**few), y), ("xgboost_many", xgboost.XGBClassifier(**few), code),
        ("xgboost_number", xgboost.XGBRegressor(**few), number),
    ):
        model.fit(holes, target)
        yield name, onnxmltools.convert_xgboost(model, **kind), holes, answers_of(model, holes)
    few["verbose"] = -1
    for name, model, target in (
        ("lightgbm_two", lightgbm.LGBMClassifier(**few), y), ("lightgbm_many", lightgbm.LGBMClassifier(**few), code),
        ("lightgbm_number", lightgbm.LGBMRegressor(**few), number),
    ):
        model.fit(holes, target)
        yield name, onnxmltools.convert_lightgbm(model, **kind), holes, answers_of(model, holes)
        yield name + "_array", onnxmltools.convert_lightgbm(model, zipmap=False, **kind), holes, None


# ---- graphs of operators' every attribute ----


def graph_of(nodes, width, output="y", kind=TensorProto.FLOAT, constants=(), versions=(3, 17)):
    inputs = [helper.make_tensor_value_info("x", kind, [None, width])]
    is_label = any("label" in node.output for node in nodes)
    outputs = [helper.make_tensor_value_info("label", TensorProto.INT64, [None])] if is_label else []
    real = TensorProto.DOUBLE if kind == TensorProto.DOUBLE and versions[0] == 5 else TensorProto.FLOAT
    outputs.append(helper.make_tensor_value_info(output, real, None))
    graph = helper.make_graph(nodes, "graph", inputs, outputs, list(constants))
    opsets = [helper.make_opsetid("ai.onnx.ml", versions[0]), helper.make_opsetid("", versions[1])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def ml(operator, inputs, outputs, **attributes):
    return helper.make_node(operator, inputs, outputs, domain="ai.onnx.ml", **attributes)


def complete_trees(count, depth, width, mode, generator, thresholds):
    """Attributes nodes_* of trees of so many levels, and the numbers of trees and nodes of their leaves."""
    lists = {name: [] for name in (
        "treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids",
        "missing_value_tracks_true",
    )}
    leaves = []
    for tree in range(count):
        for node in range(2 ** (depth + 1) - 1):
            is_leaf = node >= 2 ** depth - 1
            feature = int(generator.integers(width))
            values = (tree, node, feature, "LEAF" if is_leaf else mode,
                      0.0 if is_leaf else float(generator.choice(thresholds[feature])),
                      0 if is_leaf else 2 * node + 1, 0 if is_leaf else 2 * node + 2, int(generator.integers(2)))
            for name, value in zip(lists, values):
                lists[name].append(value)
            if is_leaf:
                leaves.append((tree, node))
    return {f"nodes_{name}": values for name, values in lists.items()}, leaves


def leaf_lists(prefix, leaves, outputs, weights):
    return {
        f"{prefix}_treeids": [tree for tree, _ in leaves for _ in outputs],
        f"{prefix}_nodeids": [node for _, node in leaves for _ in outputs],
        f"{prefix}_ids": [output for _ in leaves for output in outputs],
        f"{prefix}_weights": [float(weight) for weight in weights],
    }


def as_tensors(attributes, *names):
    """The same with lists as tensors of double precision."""
    for name in names:
        values = attributes.pop(name)
        attributes[name + "_as_tensor"] = helper.make_tensor(name, TensorProto.DOUBLE, [len(values)], values)
    return attributes


def tree_graphs(rows, holes, generator):
    thresholds = [numpy.unique(column) for column in rows.T]
    width = rows.shape[1]

    def regressor(name, mode="BRANCH_LEQ", targets=1, low=-1, high=1, **attributes):
        nodes, leaves = complete_trees(5, 4, width, mode, generator, thresholds)
        weights = generator.uniform(low, high, len(leaves) * targets)
        lists = leaf_lists("target", leaves, range(targets), weights)
        node = ml("TreeEnsembleRegressor", ["x"], ["y"], n_targets=targets, **nodes, **lists, **attributes)
        return name, graph_of([node], width), holes, None

    for mode in "LEQ", "LT", "GTE", "GT", "EQ", "NEQ":
        yield regressor("mode_" + mode.lower(), "BRANCH_" + mode)
    yield regressor("average", aggregate_function="AVERAGE", base_values=[0.5])
    yield regressor("averages", targets=3, aggregate_function="AVERAGE", base_values=[0.5, -1.0, 2.0])
    yield regressor("base", base_values=[1000.5])
    for transform in "NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO":
        yield regressor("targets_" + transform.lower(), targets=3, post_transform=transform)
    # Around one half onnxruntime's single precision is off by up to 5e-4.
    yield regressor("probit", low=0.01, high=0.2, post_transform="PROBIT", aggregate_function="AVERAGE")

    def classifier(name, classes, columns, low, **attributes):
        nodes, leaves = complete_trees(5, 4, width, "BRANCH_LT", generator, thresholds)
        weights = generator.uniform(low, 0.2, len(leaves) * len(columns))
        lists = leaf_lists("class", leaves, columns, weights)
        labels = {"classlabels_int64s": list(range(classes))}
        node = ml("TreeEnsembleClassifier", ["x"], ["label", "y"], **nodes, **lists, **labels, **attributes)
        return name, graph_of([node], width), holes, None

    yield classifier("one_positive", 2, [0], 0)
    yield classifier("one_mixed", 2, [0], -0.2)
    yield classifier("one_positive_logistic", 2, [0], 0, post_transform="LOGISTIC", base_values=[0.25])
    yield classifier("one_mixed_logistic", 2, [0], -0.2, post_transform="LOGISTIC", base_values=[0.25])
    yield classifier("two_softmax", 2, [0, 1], -0.2, post_transform="SOFTMAX")
    yield classifier("three", 3, [0, 1, 2], -0.2, post_transform="SOFTMAX", base_values=[0.1, 0.2, -0.3])

    nodes, leaves = complete_trees(5, 4, width, "BRANCH_LEQ", generator, thresholds)
    lists = leaf_lists("target", leaves, [0], generator.uniform(-1, 1, len(leaves)))
    attributes = as_tensors({**nodes, **lists, "base_values": [0.1]}, "nodes_values", "target_weights", "base_values")
    node = ml("TreeEnsembleRegressor", ["x"], ["y"], n_targets=1, **attributes)
    yield "as_tensor", graph_of([node], width, kind=TensorProto.DOUBLE), rows, None


def numbered_trees(rows, holes):
    """TreeEnsemble, of ai.onnx.ml 5: two trees of a split each, and their leaves."""
    middle = [float(numpy.median(rows[:, i])) for i in range(2)]
    for name, aggregate in ("numbered", 1), ("numbered_average", 0):
        node = ml(
            "TreeEnsemble", ["x"], ["y"], n_targets=2, aggregate_function=aggregate, post_transform=0,
            tree_roots=[0, 1], nodes_featureids=[0, 1],
            nodes_modes=helper.make_tensor("modes", TensorProto.UINT8, [2], [0, 2]),
            nodes_splits=helper.make_tensor("splits", TensorProto.FLOAT, [2], middle), nodes_truenodeids=[0, 2],
            nodes_falsenodeids=[1, 3], nodes_trueleafs=[1, 1], nodes_falseleafs=[1, 1],
            nodes_missing_value_tracks_true=[1, 0], leaf_targetids=[0, 1, 0, 1],
            leaf_weights=helper.make_tensor("weights", TensorProto.FLOAT, [4], [0.5, -1.25, 2.0, 3.5]),
        )
        yield name, graph_of([node], rows.shape[1], versions=(5, 18)), holes, None


def linear_graphs(rows, generator):
    width, scaled = rows.shape[1], (rows - rows.mean(axis=0)) / (1 + rows.std(axis=0))
    weights, bias = generator.normal(size=(width, 3)), generator.normal(size=3)

    def constant(name, values):
        values = numpy.asarray(values)
        return helper.make_tensor(name, TensorProto.FLOAT, values.shape, values.ravel().tolist())

    for transposed in 0, 1:
        matrix = constant("w", weights.T if transposed else weights)
        product = helper.make_node("Gemm", ["x", "w", "b"], ["sums"], transB=transposed)
        link = helper.make_node("Softmax", ["sums"], ["y"], axis=1)
        model = graph_of([product, link], width, constants=[matrix, constant("b", bias)])
        yield f"gemm_{transposed}", model, scaled, None
    coefficients = weights.T.ravel().tolist()
    for transform in "NONE", "SOFTMAX", "LOGISTIC":
        node = ml("LinearRegressor", ["x"], ["y"], targets=3, coefficients=coefficients, intercepts=bias.tolist(),
                  post_transform=transform)
        yield "targets_linear_" + transform.lower(), graph_of([node], width), scaled, None
    node = ml("LinearClassifier", ["x"], ["label", "y"], coefficients=coefficients[:width], intercepts=[0.5],
              classlabels_ints=[0, 1], post_transform="LOGISTIC")
    yield "one_row", graph_of([node], width), scaled, None
    scaler = ml("Scaler", ["x"], ["scaled"], offset=[0.25], scale=[0.5])
    node = ml("LinearRegressor", ["scaled"], ["y"], coefficients=coefficients[:width], intercepts=[0.5])
    yield "one_scale", graph_of([scaler, node], width), scaled, None


def operator_graphs(flows):
    rows, generator = numbers_of(flows)[:, :6], numpy.random.default_rng(SEED)
    yield from tree_graphs(rows, with_holes(rows), generator)
    yield from numbered_trees(rows, with_holes(rows))
    yield from linear_graphs(rows, generator)


MAKERS = {"sklearn": sklearn_models, "boosters": booster_models, "operators": operator_graphs}


# ---- asking ----


def run(model, rows):
    """What onnxruntime says, by class where the output is a map of classes, for one row after another."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    kinds = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(int64)": "int64"}
    if isinstance(rows, pandas.DataFrame):
        given = {each.name: rows[[each.name]].to_numpy(kinds[each.type]) for each in session.get_inputs()}
    else:
        given = {each.name: rows.astype(kinds[each.type]) for each in session.get_inputs()}
    answers = session.run(None, given)[-1]
    if isinstance(answers, list):
        answers = [[row[name] for name in sorted(row)] for row in answers]
    return numpy.asarray(answers, "float64").reshape(len(rows), -1)


def same_columns(answers, other):
    """What a library says of two classes in one column, as in the other's answers."""
    if answers.shape[1] == 1 and other.shape[1] == 2:
        return numpy.column_stack([-answers, answers])
    return answers


def write(path, table):
    numpy.savetxt(path, numpy.asarray(table, "float64"), "%.17g", ",")


def main(folder, maker):
    warnings.simplefilter("ignore")
    take_integers_of_numpy()
    flows = pandas.read_csv(os.path.join(folder, "flows.csv"), keep_default_na=False)
    flows = flows.sample(frac=1, random_state=SEED, ignore_index=True)
    for name, model, rows, answers in MAKERS[maker](flows):
        path = os.path.join(folder, name + ".onnx")
        onnx.save(model, path)
        said, distance = run(model, rows), -1
        write(path + ".rows.csv", rows)
        write(path + ".answers.csv", said)
        if answers is not None:
            answers = same_columns(answers, said)
            write(path + ".trained.csv", answers)
            distance = numpy.abs((said - answers) / numpy.maximum(1, numpy.abs(answers))).max()
        print(f"{name}.onnx {distance:.3g}")


if __name__ == "__main__":
    main(*sys.argv[1:])
