"""The training core: one loop for all reference models, and the parts their training is made of.

Knows images and sources; knows no model, metric or record. A model's ``recipe`` module makes the `task.Task`
that the loop runs; whoever puts the program together hands in what measures while it trains
(`task.Evaluator`).
"""
