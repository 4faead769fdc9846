"""Training several models as one artifact: which members there are, and what each one's answer weighs.

Members are taught by the train subjects, or each by all folds but one of train and tuning; weights are fitted
on answers about subjects that did not teach the member that gave them.
"""
