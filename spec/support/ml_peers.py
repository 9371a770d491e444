"""Trains models of others' libraries on flows, and asks them.

    ml_peers.py FOLDER MAKER

FOLDER/flows.csv has the flows, as nfengine writes them with statistics and applications. For each model MAKER writes to
FOLDER its file, NAME.json, NAME.ubj, NAME.txt … , the rows it is asked about, NAME.rows.csv, and its answers,
NAME.answers.csv, both with all digits and without a header; a line on standard output names the file.
The flows are shuffled: FOLDER/order.csv tells which flow, from 0, each row is of, and its application.

A maker is a function from the flows (a pandas.DataFrame) to any number of (file name, save, rows, answers): `save` is
called with the path to write to, rows and answers are arrays.
"""

import ctypes
import os
import sys
import warnings

import numpy
import pandas

SEED = 7

# Numbers that are no addresses, times of day or numbers of the record.
FEATURES = [
    "src_port", "dst_port", "protocol", "bidirectional_packets", "bidirectional_bytes", "bidirectional_duration_ms",
    "src2dst_packets", "src2dst_bytes", "src2dst_duration_ms", "dst2src_packets", "dst2src_bytes",
    "bidirectional_min_ps", "bidirectional_mean_ps", "bidirectional_stddev_ps", "bidirectional_max_ps",
    "bidirectional_mean_piat_ms", "bidirectional_stddev_piat_ms", "bidirectional_max_piat_ms",
    "bidirectional_syn_packets", "bidirectional_ack_packets", "bidirectional_psh_packets", "bidirectional_fin_packets",
]


# ---- what is learned ----


def numbers_of(flows):
    return flows[FEATURES].astype("float64")


def with_holes(table):
    """The same with a tenth of the values absent."""
    holes = numpy.random.default_rng(SEED).random(table.shape) < 0.1
    return table.mask(holes)


def is_tls(flows):
    return (flows.application_name.str.startswith("TLS")).astype(int)


def kind(flows):
    """A class for each of the four most frequent categories of applications, and one for all others."""
    frequent = list(flows.application_category_name.value_counts().index[:4])
    return flows.application_category_name.map(lambda name: frequent.index(name) if name in frequent else len(frequent))


def size(flows):
    return numpy.log1p(flows.bidirectional_bytes)


def with_categories(flows):
    """Columns of pandas' categories, of texts and of numbers, among others."""
    table = numbers_of(flows)[["bidirectional_packets", "bidirectional_mean_ps", "bidirectional_max_piat_ms"]].copy()
    table.insert(1, "application_name", pandas.Categorical(flows.application_name))
    table.insert(3, "dst_port", pandas.Categorical(flows.dst_port))
    table.insert(0, "protocol", pandas.Categorical(flows.protocol))
    return table


def in_codes(table):
    """Categories as the numbers that models know them by."""
    coded = table.copy()
    for name in table.columns:
        if isinstance(table[name].dtype, pandas.CategoricalDtype):
            coded[name] = table[name].cat.codes.astype("float64").where(table[name].notna())
    return coded


def strange_codes(coded):
    """Also those that no category has, and that are absent."""
    strange = coded.copy()
    for i, code in enumerate((numpy.nan, 100000, 1e10, 2.5)):
        strange.loc[i::11, ["application_name", "dst_port"]] = code
    return strange


# ---- XGBoost ----


def native_xgboost(name, parameters, x, y, rounds=20, ending="json", rows=None, types=None, **matrix):
    """`rows` are asked about in place of those that it learns from; `types` tells which features are categories."""
    import xgboost

    kinds, rows = {"feature_types": types, "enable_categorical": True}, x if rows is None else rows
    learning = xgboost.DMatrix(x, y, **kinds, **matrix)
    model = xgboost.train({"nthread": 1, "seed": SEED, **parameters}, learning, rounds)
    margin = parameters["objective"] in ("multi:softmax", "binary:logitraw")
    answers = model.predict(xgboost.DMatrix(rows, **kinds), output_margin=margin)
    if parameters["objective"] == "multi:softmax":
        answers = numpy.exp(answers.astype("float64"))
        answers /= answers.sum(axis=1, keepdims=True)
    elif margin:
        answers = 1 / (1 + numpy.exp(-answers.astype("float64")))
    return f"{name}.{ending}", model.save_model, in_codes(rows), answers


def xgboost_models(flows):
    import xgboost

    x, holes, y = numbers_of(flows), with_holes(numbers_of(flows)), is_tls(flows)
    classes, many = kind(flows), {"num_class": kind(flows).max() + 1}
    small, scaled = {"max_depth": 4}, holes / (1 + x.max())
    for ending in "json", "ubj":
        yield native_xgboost("binary", {**small, "objective": "binary:logistic"}, x, y, ending=ending)
        yield native_xgboost("classes", {**small, **many, "objective": "multi:softprob"}, holes, classes, ending=ending)
        yield native_xgboost("size", {**small, "objective": "reg:squarederror"}, holes, size(flows), ending=ending)
    for objective in (
        "binary:logitraw", "binary:hinge", "reg:logistic", "count:poisson", "reg:gamma", "reg:tweedie",
        "survival:cox", "reg:squaredlogerror", "reg:pseudohubererror", "reg:absoluteerror",
    ):
        target = size(flows) if objective in ("reg:gamma", "reg:pseudohubererror") else y
        yield native_xgboost(objective.replace(":", "_"), {**small, "objective": objective}, holes, target)
    bounds = {"label_lower_bound": size(flows), "label_upper_bound": size(flows) + 1}
    yield native_xgboost("survival_aft", {**small, "objective": "survival:aft"}, x, size(flows), **bounds)
    for objective in "rank:pairwise", "rank:ndcg", "rank:map":
        groups = {"group": [len(x) // 2, len(x) - len(x) // 2]}
        yield native_xgboost(objective.replace(":", "_"), {**small, "objective": objective}, x, y, **groups)
    yield native_xgboost("softmax", {**small, **many, "objective": "multi:softmax"}, x, classes)
    yield native_xgboost("base", {**small, "objective": "binary:logistic", "base_score": 0.2}, x, y)
    dart = {**small, "booster": "dart", "rate_drop": 0.3}
    yield native_xgboost("dart", {**dart, "objective": "binary:logistic"}, holes, y)
    linear = {"booster": "gblinear"}
    yield native_xgboost("linear", {**linear, "objective": "reg:squarederror"}, scaled, size(flows))
    yield native_xgboost("linear_classes", {**linear, **many, "objective": "multi:softprob"}, scaled, classes)
    yield native_xgboost("stump", {"max_depth": 1, "objective": "reg:squarederror"}, x, size(flows), rounds=1)
    deep = {"max_depth": 14, "min_child_weight": 0, "objective": "reg:squarederror"}
    yield native_xgboost("deep", deep, holes, size(flows))
    quantiles = {**small, "objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.5, 0.9]}
    yield native_xgboost("quantiles", quantiles, holes, size(flows))
    targets = numpy.column_stack([size(flows), flows.bidirectional_packets])
    yield native_xgboost("targets", {**small, "objective": "reg:squarederror"}, holes, targets)
    forest = {**small, "num_parallel_tree": 10, "subsample": 0.6, "colsample_bynode": 0.6, "eta": 1}
    yield native_xgboost("forest", {**forest, **many, "objective": "multi:softprob"}, holes, classes, rounds=1)
    categories = with_categories(flows)
    for name, onehot in ("partition", 1), ("onehot", 1000):
        parameters = {**small, "max_cat_to_onehot": onehot, "objective": "multi:softprob", **many}
        yield native_xgboost(name, parameters, categories, classes)
        types = ["c" if isinstance(kind_, pandas.CategoricalDtype) else "float" for kind_ in categories.dtypes]
        coded = in_codes(categories)
        yield native_xgboost(f"{name}_numbers", parameters, coded, classes, types=types, rows=strange_codes(coded))
    for booster in "gbtree", "dart":
        early = xgboost.XGBClassifier(
            n_estimators=200, max_depth=3, booster=booster, early_stopping_rounds=3, n_jobs=1, learning_rate=0.5
        )
        half = len(x) // 2
        early.fit(holes[:half], classes[:half] % 3, eval_set=[(holes[half:], classes[half:] % 3)], verbose=False)
        assert early.best_iteration + 1 < early.get_booster().num_boosted_rounds()
        yield f"early_{booster}.json", early.save_model, holes, early.predict_proba(holes)
    forest = xgboost.XGBRFClassifier(n_estimators=30, max_depth=5, n_jobs=1).fit(holes, y)
    yield "random_forest.ubj", forest.save_model, holes, forest.predict_proba(holes)[:, 1]


# ---- XGBoost of Debian, by its C interface ----


def debian_xgboost_models(flows):
    library = ctypes.CDLL("libxgboost.so.0")
    library.XGBGetLastError.restype = ctypes.c_char_p

    def call(name, *values):
        if getattr(library, name)(*values) != 0:
            raise RuntimeError(library.XGBGetLastError().decode())

    def matrix_of(x, y):
        x, y = numpy.ascontiguousarray(x, "float32"), numpy.ascontiguousarray(y, "float32")
        matrix = ctypes.c_void_p()
        pointer = ctypes.POINTER(ctypes.c_float)
        call("XGDMatrixCreateFromMat", x.ctypes.data_as(pointer), ctypes.c_uint64(x.shape[0]),
             ctypes.c_uint64(x.shape[1]), ctypes.c_float(numpy.nan), ctypes.byref(matrix))
        call("XGDMatrixSetFloatInfo", matrix, b"label", y.ctypes.data_as(pointer), ctypes.c_uint64(len(y)))
        return matrix

    def model(name, parameters, x, y, rounds=20):
        matrix, booster = matrix_of(x, y), ctypes.c_void_p()
        call("XGBoosterCreate", (ctypes.c_void_p * 1)(matrix), ctypes.c_uint64(1), ctypes.byref(booster))
        for key, value in {"nthread": 1, "seed": SEED, **parameters}.items():
            call("XGBoosterSetParam", booster, key.encode(), str(value).encode())
        for i in range(rounds):
            call("XGBoosterUpdateOneIter", booster, i, matrix)
        length, answers = ctypes.c_uint64(), ctypes.POINTER(ctypes.c_float)()
        call("XGBoosterPredict", booster, matrix, 0, 0, 0, ctypes.byref(length), ctypes.byref(answers))
        answers = numpy.ctypeslib.as_array(answers, (length.value,)).reshape(len(x), -1).copy()
        return name, lambda path: call("XGBoosterSaveModel", booster, str(path).encode()), x, answers

    x, holes, classes = numbers_of(flows), with_holes(numbers_of(flows)), kind(flows)
    many = {"objective": "multi:softprob", "num_class": classes.max() + 1, "max_depth": 4}
    for ending in "json", "ubj":
        yield model(f"debian_binary.{ending}", {"objective": "binary:logistic"}, holes, is_tls(flows))
        yield model(f"debian_classes.{ending}", many, holes, classes)
    yield model("debian_size.json", {"objective": "reg:squarederror"}, x, size(flows))
    yield model("debian_dart.json", {"booster": "dart", "rate_drop": 0.3, **many}, holes, classes)
    yield model("debian_linear.json", {"booster": "gblinear"}, holes / (1 + x.max()), size(flows))
    forest = {"num_parallel_tree": 20, "subsample": 0.6, "colsample_bynode": 0.6, "eta": 1}
    yield model("debian_forest.ubj", {**many, **forest}, holes, classes, rounds=1)


# ---- LightGBM ----


def native_lightgbm(name, parameters, x, y, rounds=20, rows=None, **dataset):
    import lightgbm

    rows = x if rows is None else rows
    quiet = {"verbose": -1, "num_threads": 1, "seed": SEED, "num_leaves": 15, "deterministic": True}
    model = lightgbm.train({**quiet, **parameters}, lightgbm.Dataset(x, y, **dataset), rounds)
    return f"{name}.txt", model.save_model, in_codes(rows), model.predict(rows)


def lightgbm_models(flows):
    import lightgbm

    x, holes, y = numbers_of(flows), with_holes(numbers_of(flows)), is_tls(flows)
    classes, many = kind(flows), {"num_class": kind(flows).max() + 1}
    yield native_lightgbm("binary", {"objective": "binary"}, x, y)
    yield native_lightgbm("binary_holes", {"objective": "binary"}, holes, y)
    yield native_lightgbm("steep", {"objective": "binary", "sigmoid": 2.5}, holes, y)
    yield native_lightgbm("classes", {"objective": "multiclass", **many}, holes, classes)
    yield native_lightgbm("one_against_all", {"objective": "multiclassova", **many}, holes, classes)
    for objective in (
        "regression", "regression_l1", "huber", "fair", "poisson", "quantile", "mape", "gamma", "tweedie",
    ):
        yield native_lightgbm(objective, {"objective": objective}, holes, size(flows))
    yield native_lightgbm("sqrt", {"objective": "regression", "reg_sqrt": True}, holes, size(flows) - 6)
    yield native_lightgbm("cross_entropy", {"objective": "cross_entropy"}, holes, y * 0.8 + 0.1)
    yield native_lightgbm("cross_entropy_lambda", {"objective": "cross_entropy_lambda"}, holes, y * 0.8 + 0.1)
    for objective in "lambdarank", "rank_xendcg":
        groups = [len(x) // 2, len(x) - len(x) // 2]
        yield native_lightgbm(objective, {"objective": objective, "lambdarank_truncation_level": 5}, x, y, group=groups)
    yield native_lightgbm("zeros", {"objective": "binary", "zero_as_missing": True}, holes, y)
    yield native_lightgbm("no_missing", {"objective": "binary", "use_missing": False}, holes, y)
    forest = {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6, "feature_fraction": 0.6}
    yield native_lightgbm("forest", {"objective": "binary", **forest}, holes, y)
    yield native_lightgbm("forest_classes", {"objective": "multiclass", **many, **forest}, holes, classes)
    yield native_lightgbm("forest_size", {"objective": "regression", **forest}, holes, size(flows))
    yield native_lightgbm("dart", {"objective": "binary", "boosting": "dart"}, holes, y)
    yield native_lightgbm("goss", {"objective": "binary", "data_sample_strategy": "goss"}, holes, y)
    yield native_lightgbm("constant", {"objective": "regression"}, x, size(flows) * 0 + 3.25, rounds=2)
    categories = with_categories(flows)
    eager = {"min_data_per_group": 1, "cat_smooth": 1, "min_data_in_leaf": 2}
    yield native_lightgbm("categories", {"objective": "multiclass", **many, **eager}, categories, classes)
    yield native_lightgbm("onehot", {"objective": "binary", **eager, "max_cat_to_onehot": 1000}, categories, y)
    coded = in_codes(categories)
    coded.loc[::7, "application_name"] = numpy.nan
    strange = strange_codes(coded)
    strange.loc[5::13, "dst_port"] = -3
    yield native_lightgbm(
        "category_numbers", {"objective": "multiclass", **many, **eager}, coded, classes, rows=strange,
        categorical_feature=["application_name", "dst_port"],
    )
    half = len(x) // 2
    early = lightgbm.LGBMClassifier(n_estimators=300, verbose=-1, n_jobs=1, learning_rate=0.5)
    early.fit(
        holes[:half], classes[:half], eval_set=[(holes[half:], classes[half:])],
        callbacks=[lightgbm.early_stopping(3, verbose=False)],
    )
    assert early.best_iteration_ < 300
    yield "early.txt", early.booster_.save_model, holes, early.predict_proba(holes)


MAKERS = {
    "xgboost": xgboost_models,
    "debian_xgboost": debian_xgboost_models,
    "lightgbm": lightgbm_models,
}


def main(folder, maker):
    warnings.simplefilter("ignore")
    flows = pandas.read_csv(os.path.join(folder, "flows.csv"), keep_default_na=False)
    order = numpy.random.default_rng(SEED).permutation(len(flows))  # so that halves are alike
    flows = flows.iloc[order].reset_index(drop=True)
    flows.application_name.set_axis(order).to_csv(os.path.join(folder, "order.csv"), header=False)
    for name, save, rows, answers in MAKERS[maker](flows):
        save(os.path.join(folder, name))
        for what, table in ("rows", rows), ("answers", answers):
            path = os.path.join(folder, f"{name}.{what}.csv")
            numpy.savetxt(path, numpy.asarray(table, "float64").reshape(len(rows), -1), "%.17g", ",")
        print(name)


if __name__ == "__main__":
    main(*sys.argv[1:])
