"""The paper, rerun: `experiment` trains and scores, `page` turns the scores into the paper's tables and figures."""
